"""Python programs of ours as child processes with an environment of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.servers.process import ChildServer

ROOT = Path(__file__).resolve().parents[2]


class PythonChild(ChildServer):
    """A child that says on standard output when it is ready.

    It takes an interpreter a second or more to import everything, so children are launched
    together and then awaited.

    Args:
        directory: Where its log goes.
        arguments: What the interpreter is called with.
        environment: Variables to set; None removes one.
    """

    start_timeout = 60.0

    def __init__(
        self,
        directory: Path,
        arguments: list[str],
        environment: Mapping[str, str | None] | None = None,
    ) -> None:
        super().__init__(directory)
        self._arguments = arguments
        self._environment = {"PYTHONPATH": str(ROOT), **(environment or {})}
        self._begin = 0
        self._waits = True

    def launch(self) -> None:
        """Start it without waiting for it; the caller stops it."""
        self._waits = False
        self.start()
        self._waits = True

    def wait(self) -> None:
        """Wait until it is ready.

        Raises:
            ServerError: It ended, or was not ready in time.
        """
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        if self._waits:
            super()._wait_until_ready()

    def _prepare(self) -> None:
        # A log may quote addresses, and the mail server's holds its password.
        self.log.touch(mode=0o600)
        self._begin = self.log.stat().st_size

    def _command(self) -> list[str]:
        # `env` sets variables for the child alone; none of them is a secret.
        command = ["env"]
        for name in (n for n, value in self._environment.items() if value is None):
            command += ["-u", name]
        command += [f"{n}={value}" for n, value in self._environment.items() if value is not None]
        return [*command, sys.executable, *self._arguments]

    def said(self) -> str:
        """Return what it wrote since its last start."""
        with self.log.open("rb") as log:
            log.seek(self._begin)
            return log.read().decode("utf-8", "replace")


def without_temporal_profile() -> dict[str, str | None]:
    """Variables that keep a user's own Temporal profile away from an embedded server."""
    names = [name for name in os.environ if name.startswith("TEMPORAL_")]
    return {**dict.fromkeys(names), "TEMPORAL_CONFIG_FILE": os.devnull}
