"""What harness and worker under test share: a folder with armed points, a crash log and a trace."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path


class Action(StrEnum):
    """What happens at an armed point."""

    KILL = "kill"
    STOP = "stop"
    """Freeze, to be thawed later: the process knows nothing of the time in between."""
    END = "end"
    """Ask it to stop, as every update of a worker does (only at random moments)."""


@dataclass(frozen=True)
class Crash:
    """A process that ended or froze itself at a point."""

    at: float
    pid: int
    point: str
    action: Action


@dataclass(frozen=True)
class Mark:
    """A worker's note on the way through the dangerous part of one attempt to send."""

    at: float
    pid: int
    event: str
    attempt: str
    delivery: str


class Control:
    """The folder. An armed point is a file; whoever renames it away first has taken it."""

    def __init__(self, folder: Path) -> None:
        self._armed = folder / "armed"
        self._taken = folder / "taken"
        self._crashes = folder / "crashes.log"
        self._trace = folder / "trace.log"
        for each in (self._armed, self._taken):
            each.mkdir(parents=True, exist_ok=True)

    # --- the harness's side

    def arm(self, point: str, action: Action) -> None:
        """Let the next process that passes ``point`` kill or freeze itself there."""
        draft = self._taken / f"{point}.draft"
        draft.write_text(action)
        draft.rename(self._armed / point)

    def armed(self, point: str) -> bool:
        """Whether nobody has taken it yet."""
        return (self._armed / point).exists()

    def take_back(self, point: str) -> bool:
        """Disarm a point; False when a worker was quicker."""
        try:
            (self._armed / point).unlink()
        except FileNotFoundError:
            return False
        return True

    def note_crash(self, point: str, pid: int, action: Action) -> Crash:
        """Write into the crash log."""
        crash = Crash(time.time(), pid, point, action)
        _append(self._crashes, asdict(crash))
        return crash

    def crashes(self, since: float = 0) -> list[Crash]:
        """What happened to processes so far."""
        found = (json.loads(line) for line in _lines(self._crashes))
        return [
            Crash(**{**each, "action": Action(each["action"])})
            for each in found
            if each["at"] >= since
        ]

    def marks(self) -> list[Mark]:
        """The trace so far."""
        return [Mark(**json.loads(line)) for line in _lines(self._trace)]

    # --- the worker's side

    def hit(self, point: str) -> None:
        """Pass a point: one failing system call unless it is armed."""
        taken = self._taken / f"{point}.{os.getpid()}.{time.monotonic_ns()}"
        try:
            (self._armed / point).rename(taken)
        except FileNotFoundError:
            return
        action = Action(taken.read_text())
        self.note_crash(point, os.getpid(), action)
        # Aimed at this thread: one aimed at the process would let it go on for a moment, into the
        # next transaction, where a frozen writer locks everybody out of SQLite.
        here = threading.get_ident()
        signal.pthread_kill(here, signal.SIGKILL if action is Action.KILL else signal.SIGSTOP)

    def mark(self, event: str, attempt: str, delivery: str) -> None:
        """Leave a note that outlives this process."""
        _append(self._trace, asdict(Mark(time.time(), os.getpid(), event, attempt, delivery)))


def _append(path: Path, entry: dict[str, object]) -> None:
    # One write: lines of several processes do not mix, and the page cache survives a SIGKILL.
    line = json.dumps(entry).encode() + b"\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)


def _lines(path: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().splitlines()
    return []
