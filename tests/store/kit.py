"""Databases of both kinds: these tests need both, whatever the rest of the suite runs on."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from activities.store.engine import Database
from activities.store.migrate import migrate
from tools.servers.postgres import Postgres

KINDS = ("sqlite", "postgresql")


class Databases:
    """Makes empty databases."""

    def __init__(self, folder: Path, postgres: Postgres) -> None:
        self.folder = folder
        self.postgres = postgres

    def url(self, kind: str) -> str:
        """The URL of a new and empty database."""
        name = f"empty_{uuid.uuid4().hex}"
        if kind == "postgresql":
            return self.postgres.create_database(name)
        return f"sqlite:///{self.folder / name}.db"

    @contextmanager
    def opened(self, url: str, *, migrated: bool = False) -> Iterator[Database]:
        """A database while the block runs."""
        database = Database(url)
        try:
            if migrated:
                migrate(database)
            yield database
        finally:
            database.close()


@pytest.fixture
def databases(tmp_path: Path, postgres: Postgres) -> Databases:
    """Makes empty databases of either kind."""
    return Databases(tmp_path, postgres)
