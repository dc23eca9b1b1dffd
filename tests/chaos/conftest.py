"""One world for all chaos tests of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.harness import World
from tests.chaos.sending import smtp_options


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    with World(seed=1, smtp=smtp_options("20:250")) as running:
        yield running
