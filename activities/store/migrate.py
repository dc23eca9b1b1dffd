"""Brings a database to the current schema (Alembic), on SQLite and PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from activities.store.engine import Database

_SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = 7306271


def migrate(database: Database, revision: str = "head") -> None:
    """Upgrade to ``revision``; processes that start at once wait for each other."""
    with database.engine.begin() as connection:
        if not database.is_sqlite:  # SQLite's BEGIN IMMEDIATE is the lock already
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        command.upgrade(configuration(connection), revision)


def configuration(connection: Connection) -> Config:
    """Return Alembic's configuration, bound to ``connection``."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["connection"] = connection
    return config
