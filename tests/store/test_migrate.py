"""Migrations: many workers at once, newer databases, nothing lost when a table is replaced."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import text
from sqlmodel import SQLModel

from activities.store.migrate import current, head, migrate, migrating
from models.errors import ConnectorError, ErrorType
from tests.store.kit import KINDS, Databases, databases

__all__ = ["databases"]

ROOT = Path(__file__).parents[2]
PROCESSES = 6

_START = """
import sys
from activities.store.engine import Database
from activities.store.migrate import current, migrate
database = Database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
migrate(database)
with database.engine.connect() as connection:
    print(current(connection), connection.exec_driver_sql("SELECT count(*) FROM message").scalar())
"""

pytestmark = pytest.mark.parametrize("kind", KINDS)


def test_workers_that_start_at_once_agree(databases: Databases, kind: str) -> None:
    command = [sys.executable, "-c", _START, databases.url(kind)]
    workers = [
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(PROCESSES)
    ]
    for worker in workers:
        assert worker.stdout
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("\n")
        worker.stdin.flush()
    assert [worker.communicate()[0] for worker in workers] == [f"{head()} 0\n"] * PROCESSES
    assert [worker.returncode for worker in workers] == [0] * PROCESSES


def test_a_newer_database_is_left_alone(databases: Databases, kind: str) -> None:
    with databases.opened(databases.url(kind), migrated=True) as database:
        with database.write() as session:
            session.connection().execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(ConnectorError) as caught:
            migrate(database)
        assert caught.value.type is ErrorType.INVALID_INPUT
        assert caught.value.field == "EMAIL_CONNECTOR_DATABASE_URL"
        assert "9999" in caught.value.message
        assert "newer" in caught.value.message
        with database.engine.connect() as connection:
            assert current(connection) == "9999"


def test_the_migrations_make_the_tables(databases: Databases, kind: str) -> None:
    with (
        databases.opened(databases.url(kind), migrated=True) as database,
        database.engine.connect() as connection,
    ):
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_replacing_a_table_loses_no_row_that_refers_to_it(databases: Databases, kind: str) -> None:
    with databases.opened(databases.url(kind), migrated=True) as database:
        with database.write() as session:
            _family(session.connection())
        with migrating(database) as connection:
            operations = Operations(MigrationContext.configure(connection))
            # Only SQLite has to replace a table to change a column.
            recreate: Literal["always", "never"] = "always" if database.is_sqlite else "never"
            with operations.batch_alter_table("message", recreate=recreate) as table:
                table.alter_column("subject", type_=sa.String(4000))
        with database.read() as session:
            assert session.connection().execute(text("SELECT count(*) FROM message_part")).scalar()
        if database.is_sqlite:
            # The connection without foreign keys is gone; those in use have them.
            with database.engine.connect() as connection:
                assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_a_migration_that_leaves_orphans_is_undone(databases: Databases, kind: str) -> None:
    with databases.opened(databases.url(kind), migrated=True) as database:
        with database.write() as session:
            _family(session.connection())
        with pytest.raises(ConnectorError) as caught, migrating(database) as connection:
            connection.execute(text("DELETE FROM email_account"))
        assert caught.value.type is ErrorType.INTERNAL
        with database.read() as session:
            assert session.connection().execute(text("SELECT count(*) FROM message")).scalar() == 1


def _family(connection: sa.Connection) -> None:
    """An account, a mail of it, and a part of that."""
    now = "2026-01-01 00:00:00+00:00"
    for statement in (
        "INSERT INTO email_account (id, name, settings, created_at, updated_at) "
        f"VALUES ('a', 'a', '{{}}', '{now}', '{now}')",
        'INSERT INTO message (id, account_id, direction, identity, status, subject, sender, "to", '
        f"cc, size, attachments, created_at) VALUES ('m', 'a', 'incoming', 'i', 'received', '', "
        f"'', '[]', '[]', 0, 1, '{now}')",
        "INSERT INTO message_part (message_id, number, name, media_type, position, size) "
        "VALUES ('m', 0, 'n', 't', 'normal', 1)",
    ):
        connection.execute(text(statement))
