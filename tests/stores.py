"""Where the tests keep what they store: one switch for the whole suite.

``EMAIL_CONNECTOR_TEST_STORE=sqlite`` (the default) gives every store an SQLite file and a folder,
``postgresql`` gives it a database of its own on a real PostgreSQL and a prefix of its own on S3,
with a limit so small that nearly all content really goes there. Tests ask for ``stores``, and pass
what it gives to ``Settings`` or to the environment of a process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import psycopg
import pytest
from obstore.store import from_url
from psycopg import sql
from sqlmodel import SQLModel

from activities.store.engine import Database, parse_url
from activities.store.migrate import migrate
from models.settings import Settings
from tools.servers.postgres import Postgres
from tools.servers.s3 import S3Server

SWITCH = "EMAIL_CONNECTOR_TEST_STORE"
KINDS = ("sqlite", "postgresql")
INLINE_BYTES = 100
"""Larger content goes to S3: that is all mail."""
_TEMPLATE = "migrated"


class Stores(Protocol):
    """Makes settings of new stores."""

    @property
    def kind(self) -> str:
        """Which of ``KINDS`` they are."""

    def fresh(self) -> dict[str, Any]:
        """Settings of a store that nobody has used, besides its ``data_dir``."""

    def content_away(self, settings: Settings) -> AbstractContextManager[None]:
        """Keep the large content of a store from being read while the block runs."""


@dataclass(frozen=True)
class EmbeddedStores:
    """The default of the product: SQLite and a folder, both in ``data_dir``."""

    kind: str = "sqlite"

    def fresh(self) -> dict[str, Any]:
        """Nothing but a new ``data_dir`` is needed."""
        return {}

    @contextmanager
    def content_away(self, settings: Settings) -> Iterator[None]:
        """A file stands where the folder should be."""
        folder = settings.data_dir / "content"
        aside = folder.rename(folder.with_name("aside"))
        folder.write_text("a file where a folder should be")
        yield
        folder.unlink()
        aside.rename(folder)


@dataclass(frozen=True)
class ServerStores:
    """PostgreSQL and S3."""

    postgres: Postgres
    s3: S3Server
    bucket: str
    kind: str = field(default="postgresql")

    def fresh(self) -> dict[str, Any]:
        """A copy of the migrated database, and a new prefix in the bucket."""
        name = f"store_{uuid4().hex}"
        return {
            "database_url": self.postgres.create_database(name, template=_TEMPLATE),
            "blob_url": f"{self.bucket}/{name}",
            "inline_content_bytes": INLINE_BYTES,
        }

    @contextmanager
    def content_away(self, settings: Settings) -> Iterator[None]:
        """The service refuses our credentials."""
        self.s3.refuse_everybody()
        try:
            yield
        finally:
            self.s3.admit_everybody()


def store_environment(settings: Settings) -> dict[str, str]:
    """Variables with which another process finds the store of ``settings``."""
    named = {
        "DATA_DIR": settings.data_dir,
        "DATABASE_URL": settings.database_url,
        "BLOB_URL": settings.blob_url,
        "INLINE_CONTENT_BYTES": settings.inline_content_bytes,
    }
    return {f"EMAIL_CONNECTOR_{n}": str(v) for n, v in named.items() if v is not None}


def database_bytes(settings: Settings) -> bytes:
    """All that the database of a store holds, as it lies there."""
    url = parse_url(settings.sqlalchemy_url())
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "")
        return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    found = b""
    with psycopg.connect(url.set(drivername="postgresql").render_as_string(False)) as connection:
        for table in SQLModel.metadata.sorted_tables:
            statement = sql.SQL("COPY {} TO STDOUT (FORMAT binary)")
            with connection.cursor().copy(statement.format(sql.Identifier(table.name))) as rows:
                found += b"".join(bytes(row) for row in rows)
    return found


def object_at(url: str) -> bytes:
    """Return an object of the S3 server that the cloud's variables lead to."""
    store = from_url(url.rpartition("/")[0])
    return store.get(url.rpartition("/")[2]).bytes().to_bytes()


def chosen() -> str:
    """The kind of store the suite runs on."""
    kind = os.environ.get(SWITCH, KINDS[0])
    if kind not in KINDS:
        raise pytest.UsageError(f"{SWITCH} is one of {', '.join(KINDS)}")
    return kind


def pytest_configure() -> None:
    """A switch that is set wrongly is told once, not by every test."""
    chosen()


def pytest_report_header() -> str:
    """Say which store is being tested."""
    return f"store: {chosen()}"


@pytest.fixture(scope="session")
def s3(server_directory: Path) -> Iterator[S3Server]:
    """An S3 server; while it runs, the cloud's variables lead to it."""
    with S3Server(server_directory / "s3") as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope="session")
def stores(request: pytest.FixtureRequest) -> Stores:
    """Makes stores of the kind that is being tested."""
    if chosen() == "sqlite":
        return EmbeddedStores()
    postgres: Postgres = request.getfixturevalue("postgres")
    server: S3Server = request.getfixturevalue("s3")
    template = Database(postgres.create_database(_TEMPLATE))
    migrate(template)
    template.close()
    return ServerStores(postgres, server, server.create_bucket("mail"))
