"""Child processes of the tests: started, awaited until they say so, ended by their id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


class ChildProcess:
    """A running child whose standard output and error go to a file."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self.strace = isinstance(process.args, list) and process.args[0] == "strace"
        self._output = output

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self._output.read_text(errors="replace")

    def stop(self) -> None:
        """End it gently; what strace runs is ended in its place, for strace itself would stay."""
        if self.process.poll() is not None:
            return
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        pids = [int(pid) for pid in children.read_text().split()] if self.strace else []
        for pid in pids or [self.pid]:
            os.kill(pid, signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            for pid in [*pids, self.pid]:
                os.kill(pid, signal.SIGKILL)
            self.process.wait()

    def wait_for(self, text: str, seconds: float = 90) -> None:
        """Wait until it has written ``text``."""
        deadline = time.monotonic() + seconds
        while text not in self.output:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"no {text!r} in what the process wrote:\n{self.output}")
            time.sleep(0.02)


@contextmanager
def child(
    command: Sequence[str],
    output: Path,
    *,
    ready: str,
    environment: Mapping[str, str] | None = None,
) -> Iterator[ChildProcess]:
    """Run a Python command line until the block ends; it is ready when it has written ``ready``."""
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    running = ChildProcess(process, output)
    try:
        running.wait_for(ready)
        yield running
    finally:
        running.stop()


def python(*arguments: str) -> list[str]:
    """Return the command line that runs Python with ``arguments``."""
    return [sys.executable, *arguments]
