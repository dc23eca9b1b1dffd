"""The services of docker-compose.yml as processes on this machine, with the same settings.

Only what a machine differs in from a container is replaced: names of hosts, ports and folders.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.deploy.files import ROOT, services
from tools.servers.postgres import Postgres, find_program
from tools.servers.process import LOOPBACK, ChildServer, free_port, greets

_INTERNAL_PORTS = (
    "FRONTEND_MEMBERSHIP_PORT",
    "FRONTEND_HTTP_PORT",
    "MATCHING_GRPC_PORT",
    "MATCHING_MEMBERSHIP_PORT",
    "HISTORY_GRPC_PORT",
    "HISTORY_MEMBERSHIP_PORT",
    "WORKER_GRPC_PORT",
    "WORKER_MEMBERSHIP_PORT",
)


class Machine:
    """Where things are on this machine.

    Args:
        folder: Everything is kept here.
        app: The files of the image.
        database: PostgreSQL.
    """

    def __init__(self, folder: Path, app: Path, database: Postgres) -> None:
        self.folder, self.app, self.database = folder, app, database
        self.secrets, self.data, self.bin = folder / "secrets", folder / "data", folder / "bin"
        self.temporal, self.ui, self.endpoints = free_port(), free_port(), free_port()
        self.health, self.metrics = free_port(), free_port()
        self.smtp, self.imap = free_port(), free_port()
        self._internal = {name: str(free_port()) for name in _INTERNAL_PORTS}

    def here(self, text: str) -> str:
        """Return a value or an argument from docker-compose.yml as it must be on this machine."""
        for there, here in {
            "temporal:7233": f"{LOOPBACK}:{self.temporal}",
            f"{LOOPBACK}:7233": f"{LOOPBACK}:{self.temporal}",
            f"{LOOPBACK}:8080": f"{LOOPBACK}:{self.ui}",
            f"{LOOPBACK}:8089": f"{LOOPBACK}:{self.endpoints}",
            f"{LOOPBACK}:8081": f"{LOOPBACK}:{self.health}",
            "0.0.0.0:9464": f"{LOOPBACK}:{self.metrics}",
            "=2525": f"={self.smtp}",
            "=1143": f"={self.imap}",
            "(2525, 1143)": f"({self.smtp}, {self.imap})",
            "0.0.0.0": LOOPBACK,
            "/run/secrets": str(self.secrets),
            "/deploy/": f"{ROOT}/deploy/",
        }.items():
            text = text.replace(there, here)
        return text

    def environment(self, service: str) -> dict[str, str]:
        """Return the variables of a service."""
        found = services().get(service, {}).get("environment", {})
        replaced = {
            "POSTGRES_SEEDS": self.database.host,
            "SQL_HOST": self.database.host,
            "DB_PORT": str(self.database.port),
            "SQL_PORT": str(self.database.port),
            "TEMPORAL_UI_PORT": str(self.ui),
            "EMAIL_CONNECTOR_HTTP_PORT": str(self.endpoints),
        }
        values = {name: replaced.get(name, self.here(value)) for name, value in found.items()}
        if service == "temporal":
            values |= self._internal | {"FRONTEND_GRPC_PORT": str(self.temporal)}
        return self.base() | values

    def base(self) -> dict[str, str]:
        """Return what an image sets, and nothing of the user's own."""
        return {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PYTHONPATH": str(self.app),
            "PYTHONUNBUFFERED": "1",
            "EMAIL_CONNECTOR_DATA_DIR": str(self.data),
            "TEMPORAL_CONFIG_FILE": os.devnull,
        }

    def command(self, service: str) -> list[str]:
        """Return the command line of a service."""
        described = services()[service]
        words = [*described.get("entrypoint", []), *described.get("command", [])]
        return [self.program(self.here(word)) for word in words]

    def program(self, word: str) -> str:
        """Return a program of an image as it is called on this machine."""
        return sys.executable if word == "python" else word

    def run(self, service: str) -> str:
        """Run a service that ends by itself; returns what it said."""
        return self.call(self.command(service), self.environment(service))

    def call(
        self, command: list[str], environment: Mapping[str, str], *, stdin: str = "", code: int = 0
    ) -> str:
        """Run a program until it ends; returns its standard output."""
        done = subprocess.run(
            command,
            cwd=self.app,
            env=dict(environment),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def cli(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        """Run our command line beside the worker."""
        command = [sys.executable, "-m", "starter", *arguments]
        return self.call(command, self.environment("worker"), stdin=stdin, code=code)


class Part(ChildServer):
    """A service that stays, until the block ends.

    Args:
        machine: Where things are.
        service: Its name in docker-compose.yml.
        command: Its command line where it is not the one in docker-compose.yml.
        port: Answers when it is ready; by default its health check says so.
        says: What it writes when it is ready.
    """

    start_timeout = 90.0

    def __init__(
        self,
        machine: Machine,
        service: str,
        *,
        command: list[str] | None = None,
        port: int | None = None,
        says: str = "",
    ) -> None:
        self.name = service
        super().__init__(machine.folder / service)
        self._machine = machine
        self._words = command or machine.command(service)
        self._port, self._says = port, says

    def _prepare(self) -> None:
        self.log.touch()

    def _command(self) -> list[str]:
        variables = self._machine.environment(self.name)
        pairs = [f"{name}={value}" for name, value in variables.items()]
        return ["env", "-i", "--chdir", str(self._machine.app), *pairs, *self._words]

    def _ready(self) -> bool:
        if self._port is not None:
            return greets(self._port)
        if self._says:
            return self._says in self.log.read_text(errors="replace")
        return self.healthy()

    def healthy(self) -> bool:
        """Tell what the health check of docker-compose.yml says."""
        test: list[Any] = services()[self.name]["healthcheck"]["test"]
        words = [self._machine.program(self._machine.here(word)) for word in test[1:]]
        environment = self._machine.environment(self.name)
        done = subprocess.run(words, env=environment, capture_output=True, check=False, timeout=20)
        return done.returncode == 0


def create_databases(machine: Machine) -> None:
    """Run the script that PostgreSQL's image would run in its empty cluster."""
    psql = find_program("psql")
    assert psql
    described = services()["postgres"]
    scripts = [v.split(":")[0] for v in described["volumes"] if "initdb.d" in v]
    environment = machine.environment("postgres") | {
        "PATH": f"{Path(psql).parent}:{os.environ['PATH']}",
        "PGHOST": machine.database.host,
        "PGPORT": str(machine.database.port),
    }
    for script in scripts:
        machine.call([str(ROOT / script)], environment)
