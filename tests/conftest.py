"""Fixtures of the whole suite."""

from hypothesis import settings

pytest_plugins = ["tests.servers", "tests.stores"]

# A busy machine is no bug. What limits a test's time is the runner, test by test.
settings.register_profile("project", deadline=None)
settings.load_profile("project")
