"""A mail server that answers late, as a child process (``benchmarks/late_server.py``).

``smtp-sink`` can only be late by whole seconds.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from tools.servers.process import LOOPBACK, ChildServer, ServerError, free_port, greets

_PROGRAM = Path(__file__).with_name("late_server.py").resolve()
_LOOK_SECONDS = 0.005


class DelayingSink(ChildServer):
    """The server as a child process; a context manager.

    Args:
        directory: where its counts are.
        delay_ms: how long the greeting and the reply to each final dot take.
    """

    name = "delaying-sink"

    def __init__(self, directory: Path, *, delay_ms: int) -> None:
        super().__init__(directory)
        self.host = LOOPBACK
        self.port = free_port()
        self._delay_ms = delay_ms
        self._counts = directory / "counts"

    def count(self, sender: str | None = None) -> int:
        """Mails it has taken since its start, of all senders or of one."""
        counts: dict[str, int] = json.loads(self._counts.read_text() or "{}")
        return sum(counts.values()) if sender is None else counts.get(sender, 0)

    def wait_for(self, count: int, timeout: float = 60.0, *, sender: str | None = None) -> float:
        """Wait until it has taken that many mails and return the moment (`time.perf_counter`)."""
        deadline = time.monotonic() + timeout
        while self.count(sender) < count:
            if time.monotonic() > deadline:
                raise ServerError(f"the sink took {self.count(sender)} of {count} mails")
            time.sleep(_LOOK_SECONDS)
        return time.perf_counter()

    def _prepare(self) -> None:
        self._counts.write_text("{}")

    def _command(self) -> list[str]:
        asked = [str(self.port), str(self._delay_ms), str(self._counts)]
        return [sys.executable, "-I", str(_PROGRAM), *asked]

    def _ready(self) -> bool:
        return greets(self.port, b"220")
