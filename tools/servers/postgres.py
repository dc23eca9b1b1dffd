"""PostgreSQL: a cluster of its own on a loopback port, as durable as a real one."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from tools.servers.process import LOOPBACK, ChildServer, ServerError, free_port

_USER = "postgres"
_DATABASE_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


def find_program(name: str) -> str | None:
    """Return the newest installed PostgreSQL program of a name."""
    # Debian keeps each major version's server programs away from PATH.
    versions = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"),
        key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0,
    )
    return str(versions[-1]) if versions else shutil.which(name)


class Postgres(ChildServer):
    """A PostgreSQL server with its data below `directory`; a context manager.

    Args:
        directory: where the cluster lives; the user `postgres` must be able to enter its parents.
        settings: server settings besides our own, for example `{"work_mem": "64MB"}`.
    """

    name = "postgres"
    # Ends its clients' sessions; SIGTERM would wait for them.
    stop_signal = signal.SIGINT

    def __init__(self, directory: Path, *, settings: dict[str, str] | None = None) -> None:
        super().__init__(directory)
        self.host = LOOPBACK
        self.port = free_port()
        self._settings = dict(settings or {})

    def url(self, database: str = "postgres") -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://{_USER}@{LOOPBACK}:{self.port}/{database}"

    def create_database(self, name: str, *, template: str | None = None) -> str:
        """Create an empty database, or a copy of ``template``, and return its URL."""
        for given in (name, template or name):
            if not _DATABASE_NAME.fullmatch(given):
                raise ValueError(f"not a plain database name: {given}")
        # A copy through the log needs no checkpoint: a tenth of a second instead of one.
        copied = f' TEMPLATE "{template}" STRATEGY wal_log' if template else ""
        self._query(f'CREATE DATABASE "{name}"{copied}')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, ending the sessions that use it."""
        if not _DATABASE_NAME.fullmatch(name):
            raise ValueError(f"not a plain database name: {name}")
        self._query(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _prepare(self) -> None:
        data = self.directory / "data"
        if (data / "PG_VERSION").exists():
            return
        initdb = find_program("initdb")
        if initdb is None:
            raise ServerError("PostgreSQL is not installed: python -m tools.servers install")
        user = self._user()
        if user is not None:
            shutil.chown(self.directory, user, user)
        # Only the making of the cluster goes unsynced: it is made again when that fails.
        command = [initdb, "--pgdata", str(data), "--username", _USER, "--auth", "trust"]
        command += ["--no-sync", "--encoding", "UTF8", "--locale", "C.UTF-8"]
        done = subprocess.run(
            command,
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
        if done.returncode != 0:
            raise ServerError(f"initdb failed: {done.stdout}{done.stderr}".strip())

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "128MB",
            **self._settings,
        }
        program = find_program("postgres") or "postgres"
        command = [program, "-D", str(self.directory / "data"), "-p", str(self.port)]
        for key, value in settings.items():
            command += ["-c", f"{key}={value}"]
        return command

    def _ready(self) -> bool:
        try:
            self._query("SELECT 1")
        except ServerError:
            return False
        return True

    def _user(self) -> str | None:
        # The server refuses to run as root.
        return _USER if os.geteuid() == 0 else None

    def _query(self, statement: str) -> None:
        psql = find_program("psql")
        if psql is None:
            raise ServerError("psql is not installed: python -m tools.servers install")
        command = [psql, "-X", "-q", "-h", LOOPBACK, "-p", str(self.port), "-U", _USER]
        done = subprocess.run(
            [*command, "-d", "postgres", "-c", statement],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            raise ServerError(f"{statement}: {done.stderr.strip()}")
