"""One child process at a time: started on loopback ports, awaited until ready, stopped by pid."""

import atexit
import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

LOOPBACK = "127.0.0.1"
_TAIL_LINES = 30
# Below the range the kernel takes for outgoing connections: a port picked here stays free while
# its server restarts.
_PORTS = range(15_000, 32_000)
# Test runners reseed the common generator alike in every worker, which would make all workers
# pick the same ports.
_random = random.SystemRandom()
# Its standard input is a pipe from us, which ends when we do, however that happens. (The kernel's
# parent-death signal will not do: it is lost when a server changes its user.)
_WATCHDOG = 'read -r _; kill -s "$2" "$1"; sleep 5; kill -s KILL -- "-$1"'


class ServerError(RuntimeError):
    """A server did not start, or stopped by itself; the message ends with the tail of its log."""


def free_port() -> int:
    """Return a loopback port nobody listens on."""
    for _ in range(200):
        port = _random.choice(_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise ServerError("no free loopback port found")


def greets(port: int, greeting: bytes = b"") -> bool:
    """Tell whether a port accepts a connection and, if one is given, opens with the greeting."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=2) as connection:
            return not greeting or connection.recv(512).startswith(greeting)
    except OSError:
        return False


class ChildServer(ABC):
    """A server in its own process group; a context manager that starts and stops it.

    It also ends when this process does, even by SIGKILL: a small watchdog beside it sees to that.

    Args:
        directory: where it keeps everything; made when missing.
    """

    name: str
    stop_signal = signal.SIGTERM
    start_timeout = 30.0
    stop_timeout = 15.0

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    @abstractmethod
    def _prepare(self) -> None:
        """Write what the server needs before its first start; called before every start."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the command line that runs the server in the foreground."""

    @abstractmethod
    def _ready(self) -> bool:
        """Tell whether the server answers."""

    def _user(self) -> str | None:
        """Return the system user to run as, or `None` to stay who we are."""
        return None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise ServerError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            ServerError: when it ends, or does not answer in time.
        """
        if self.running:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        self._prepare()
        with self.log.open("ab") as log:
            user = self._user()
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        self._watchdog = subprocess.Popen(
            ["sh", "-c", _WATCHDOG, "sh", str(self._process.pid), self.stop_signal.name[3:]],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        atexit.register(self.stop)
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop the server, gently at first, and everything it started."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End the server and its children at once (SIGKILL), as a crash would."""
        self._end(None)

    def restart(self) -> None:
        """Stop and start again on the same ports and data."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_ready(self) -> None:
        process = self._process
        assert process is not None  # noqa: S101  # start() has just set it
        deadline = time.monotonic() + self.start_timeout
        while not self._ready():
            if process.poll() is not None:
                raise self._failure(f"ended with exit code {process.returncode}")
            if time.monotonic() > deadline:
                raise self._failure(f"did not answer within {self.start_timeout:g} s")
            time.sleep(0.02)

    def _failure(self, what: str) -> ServerError:
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return ServerError("\n".join([f"{self.name} {what}; the end of {self.log}:", *lines]))

    def _end(self, first: signal.Signals | None) -> None:
        process = self._process
        # A forked copy of this process must not stop its parent's server.
        if process is None or os.getpid() != self._owner:
            return
        atexit.unregister(self.stop)
        if first is not None and process.poll() is None:
            process.send_signal(first)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.stop_timeout)
        # What is left: a server that would not stop, or its orphans. The group's id stays theirs
        # as long as one of them lives.
        outside = _descendants(process.pid) if process.poll() is None else []
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # PostgreSQL's children have groups of their own.
        for pid in outside:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        while any(_alive(pid) for pid in outside):
            time.sleep(0.01)
        self._process = None
        self._dismiss_watchdog()

    def _dismiss_watchdog(self) -> None:
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            # Killed first: a closed pipe would make it signal a process id that is free again.
            watchdog.kill()
            watchdog.wait()
            if watchdog.stdin is not None:
                watchdog.stdin.close()


def _descendants(root: int) -> list[int]:
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if (fields := _status(int(folder.name))) is not None:
            parents[int(folder.name)] = int(fields[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def _alive(pid: int) -> bool:
    fields = _status(pid)
    # An orphan stays a zombie until the system's first process looks at it.
    return fields is not None and fields[0] != "Z"


def _status(pid: int) -> list[str] | None:
    """Return a process's state, parent and so on; `None` when there is no such process."""
    try:
        # The name before them is in brackets and may hold blanks and brackets itself.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
