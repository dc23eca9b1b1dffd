"""Bulk inserts that meet rows which are already there, on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import Session, SQLModel


def insert_missing(session: Session, table: type[SQLModel], rows: Sequence[dict[str, Any]]) -> int:
    """Insert ``rows``; those whose key is taken are left as they stand. Returns how many are new.

    A row that another transaction is inserting is waited for.
    """
    if not rows:
        return 0
    connection = session.connection()
    insert = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    # Only then does PostgreSQL's driver tell: by itself it says -1, which is not none.
    counted = insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    return connection.execute(counted, rows).rowcount
