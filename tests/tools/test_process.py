"""A child server starts, fails, stops and dies as promised."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.servers.process import ChildServer, ServerError


class Sleeper(ChildServer):
    name = "sleeper"
    start_timeout = 5.0

    def __init__(self, directory: Path, command: list[str]) -> None:
        super().__init__(directory)
        self.command = command

    def _prepare(self) -> None:
        pass

    def _command(self) -> list[str]:
        return self.command

    def _ready(self) -> bool:
        return "ready" in self.log.read_text()


class TestChildServer:
    def test_a_failed_start_shows_the_end_of_the_log(self, tmp_path: Path) -> None:
        server = Sleeper(tmp_path, ["sh", "-c", "echo no such luck; exit 3"])
        with pytest.raises(ServerError, match=r"(?s)exit code 3.*no such luck"):
            server.start()
        assert not server.running

    def test_stop_ends_what_ignores_the_signal(self, tmp_path: Path) -> None:
        script = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
        server = Sleeper(tmp_path, ["sh", "-c", script])
        server.stop_timeout = 0.3
        with server:
            pid = server.pid
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    def test_the_server_dies_with_a_killed_parent(self, tmp_path: Path) -> None:
        script = (
            "import sys, pathlib\n"
            "from tests.tools.test_process import Sleeper\n"
            "server = Sleeper(pathlib.Path(sys.argv[1]), ['sh', '-c', 'echo ready; sleep 60'])\n"
            "server.start()\n"
            "print(server.pid, flush=True)\n"
            "sys.stdin.read()\n"
        )
        parent = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with parent:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            parent.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 15
        while alive(pid):
            assert time.monotonic() < deadline, "it outlived its parent"
            time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    # An orphan that ended stays a zombie until the system's first process looks at it.
    return state != "Z"
