"""The processes of a chaos run that are ours: workers, the callback worker, the SMTP server."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.chaos import worker
from tools.servers.process import LOOPBACK, ChildServer, ServerError, free_port, greets

_ROOT = Path(__file__).parents[2]
_START_SECONDS = 60
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([worker.__name__, "pytest"])


class WorkerProcess:
    """A worker under test, forked anew for every life."""

    def __init__(self, name: str, directory: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._environment = dict(environment)
        self._process: multiprocessing.process.BaseProcess | None = None

    @property
    def running(self) -> bool:
        """Whether it is alive, be it frozen."""
        return self._process is not None and self._process.is_alive()

    @property
    def pid(self) -> int:
        """Its process id."""
        if self._process is None or self._process.pid is None:
            raise ServerError(f"{self.name} is not running")
        return self._process.pid

    def start(self) -> None:
        """Fork it and wait until it works."""
        self.log.touch()
        seen = self.log.stat().st_size
        self._process = _forks.Process(
            target=worker.forked, args=(self._environment, self.log), name=self.name
        )
        self._process.start()
        deadline = time.monotonic() + _START_SECONDS
        while worker.READY.encode() not in self.log.read_bytes()[seen:]:
            if not self.running and self._process.exitcode == -signal.SIGKILL:
                return  # it has met its next blow already; the caller will see
            if not self.running or time.monotonic() > deadline:
                raise ServerError(f"{self.name} did not start: see {self.log}")
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._process = None


class PythonServer(ChildServer):
    """``python -m MODULE …`` that says on its output when it is ready."""

    def __init__(self, directory: Path, name: str, command: list[str], *, ready: str) -> None:
        self.name = name
        super().__init__(directory)
        self._module = command
        self._ready_line = ready
        self._seen = 0

    def _prepare(self) -> None:
        self._seen = self.log.stat().st_size if self.log.exists() else 0

    def _command(self) -> list[str]:
        # env becomes python: the process id stays the same.
        return ["env", f"PYTHONPATH={_ROOT}", sys.executable, "-m", *self._module]

    def _ready(self) -> bool:
        with self.log.open("rb") as log:
            log.seek(self._seen)
            return self._ready_line.encode() in log.read()


class LedgerServer(PythonServer):
    """The SMTP server of ``tests.smtp_server`` as a process of its own."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.port = free_port()
        self.ledger = directory / "accepted.jsonl"
        address = ["--host", LOOPBACK, "--port", str(self.port), "--ledger", str(self.ledger)]
        super().__init__(
            directory, "smtp", ["tests.smtp_server", *address, *options], ready=str(self.port)
        )

    def _ready(self) -> bool:
        return super()._ready() and greets(self.port, b"220")
