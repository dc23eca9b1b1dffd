"""Bulk inserts that meet rows which are already there, on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from pydantic_core import to_json
from sqlalchemy import LargeBinary, inspect
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import Session, SQLModel


def insert_missing(session: Session, table: type[SQLModel], rows: Sequence[dict[str, Any]]) -> int:
    """Insert ``rows``; those whose key is taken are left as they stand. Returns how many are new.

    All rows have the same columns. A row that another transaction is inserting is waited for.
    """
    if not rows:
        return 0
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        return connection.execute(sqlite_insert(table).on_conflict_do_nothing(), rows).rowcount
    columns = tuple(rows[0])
    mapped = inspect(table).columns
    if any(isinstance(mapped[name].type, LargeBinary) for name in columns):
        # Only then does PostgreSQL's driver tell: by itself it says -1, which is not none.
        options = {"preserve_rowcount": True}
        missing = postgresql_insert(table).on_conflict_do_nothing()
        return connection.execute(missing, rows, execution_options=options).rowcount
    values = {"rows": to_json(rows).decode()}
    return connection.exec_driver_sql(_from_document(table, columns), values).rowcount


@cache
def _from_document(table: type[SQLModel], columns: tuple[str, ...]) -> str:
    """All rows from one parameter: a statement for each takes PostgreSQL several times as long."""
    mapped, dialect = inspect(table).columns, PGDialect()  # type: ignore[no-untyped-call]
    found = [(name, mapped[name]) for name in columns]
    named = ", ".join(f'"{column.name}"' for _, column in found)
    given = ", ".join(f'"{name}"' for name in columns)
    typed = ", ".join(f'"{name}" {column.type.compile(dialect)}' for name, column in found)
    return (
        f'INSERT INTO "{table.__tablename__}" '  # noqa: S608 - names of our own tables
        f"({named}) "
        f"SELECT {given} FROM json_to_recordset(%(rows)s) AS t ({typed}) ON CONFLICT DO NOTHING"
    )
