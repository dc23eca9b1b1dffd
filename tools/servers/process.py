"""One child process at a time: started on loopback ports, awaited until ready, stopped by pid."""

import atexit
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
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

    It also ends when this process dies: the kernel signals it when the thread that started it
    ends, and a server started in another thread than the main one is stopped at exit instead.

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
            self._process = subprocess.Popen(
                [*self._wrapper(), *self._command()],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
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

    def _wrapper(self) -> list[str]:
        setpriv = shutil.which("setpriv")
        user = self._user()
        if setpriv is None:
            if user is not None:
                raise ServerError(f"{self.name} needs setpriv (util-linux) to run as {user}")
            return []
        wrapper = [setpriv]
        if user is not None:
            wrapper += [f"--reuid={user}", f"--regid={user}", "--init-groups"]
        if threading.current_thread() is threading.main_thread():
            wrapper += ["--pdeathsig", self.stop_signal.name.removeprefix("SIG")]
        return wrapper if len(wrapper) > 1 else []

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
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._process = None
