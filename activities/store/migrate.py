"""Brings a database to the current schema (Alembic), on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from activities.store.engine import Database, translated
from models.errors import ConnectorError, ErrorType

_SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = 7306271


def migrate(database: Database, revision: str = "head") -> None:
    """Upgrade to ``revision``; processes that start at once wait for each other.

    Raises:
        ConnectorError: ``InvalidInput`` when a newer version of this program made the database.
    """
    if revision == "head":
        revision = head()
    with translated(), database.engine.connect() as connection:
        if current(connection) == revision:
            return
    with migrating(database) as connection:
        found = current(connection)
        if found is not None and found not in _known():
            raise ConnectorError(
                ErrorType.INVALID_INPUT,
                f"the database is at revision {found}, which this version does not know: a newer "
                "one has used it; start that version, or restore the backup made before it",
                field="EMAIL_CONNECTOR_DATABASE_URL",
            )
        command.upgrade(configuration(connection), revision)


@contextmanager
def migrating(database: Database) -> Iterator[Connection]:
    """A transaction that changes the schema: one at a time, and all of it or nothing."""
    with translated(), database.engine.connect() as connection:
        if not database.is_sqlite:
            with connection.begin():
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
                yield connection
            return
        # BEGIN IMMEDIATE is the lock here. A table is changed by a copy that takes its place;
        # with foreign keys on, dropping the old one would delete all rows that refer to it.
        connection.detach()  # nobody else gets it like that
        connection = connection.execution_options(foreign_keys_off=True)
        with connection.begin():
            yield connection
            if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                raise ConnectorError(
                    ErrorType.INTERNAL, "the change of the schema left a row without its parent"
                )


def current(connection: Connection) -> str | None:
    """Revision of a database, None when it has none yet."""
    return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """Revision of the current schema."""
    return _scripts().get_current_head() or ""


def configuration(connection: Connection) -> Config:
    """Return Alembic's configuration, bound to ``connection``."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["connection"] = connection
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_SCRIPTS))


def _known() -> set[str]:
    return {script.revision for script in _scripts().walk_revisions()}
