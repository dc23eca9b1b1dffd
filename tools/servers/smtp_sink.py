"""Postfix's smtp-sink: takes every mail, keeps none, counts; for measuring how fast we send."""

import os
import re
import time
from pathlib import Path

from tools.servers.process import LOOPBACK, ChildServer, ServerError, free_port, greets

_COUNT = re.compile(rb"mesg=(\d+)[ \r\n]")
_TAIL = 400


class SmtpSink(ChildServer):
    """An smtp-sink process; a context manager.

    Args:
        directory: where its running count is written.
        backlog: how many connections may wait to be accepted.
    """

    name = "smtp-sink"

    def __init__(self, directory: Path, *, backlog: int = 1000) -> None:
        super().__init__(directory)
        self.host = LOOPBACK
        self.port = free_port()
        self._backlog = backlog

    def count(self) -> int:
        """Return how many mails it has taken since its last start."""
        # It rewrites one line of counts for ever, so only the end of the file matters.
        with self.log.open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(0, size - _TAIL))
            counts = _COUNT.findall(log.read())
        return int(counts[-1]) if counts else 0

    def wait_for(self, count: int, timeout: float = 60.0) -> float:
        """Wait until it has taken that many mails and return the moment (`time.perf_counter`)."""
        deadline = time.monotonic() + timeout
        while self.count() < count:
            if time.monotonic() > deadline:
                raise ServerError(f"smtp-sink took {self.count()} of {count} mails")
            time.sleep(0.002)
        return time.perf_counter()

    def _prepare(self) -> None:
        self.log.write_bytes(b"")

    def _command(self) -> list[str]:
        command = ["smtp-sink", "-c"]
        if os.geteuid() == 0:
            # It refuses to serve as root.
            command += ["-u", "nobody"]
        return [*command, f"{LOOPBACK}:{self.port}", str(self._backlog)]

    def _ready(self) -> bool:
        return greets(self.port, b"220")
