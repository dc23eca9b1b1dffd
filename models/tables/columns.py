"""Column kinds shared by the tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Index, LargeBinary, String, TypeDecorator
from sqlalchemy import text as text_clause
from sqlmodel import Field

CHAIN_CHARS = 1100
"""A workflow id (Temporal allows 1,000 characters) with a run id."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware instant in UTC. SQLite keeps no zone: it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Any) -> datetime | None:
        """Refuse naive values and normalise to UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Any) -> datetime | None:
        """Put the zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def id_column() -> Any:
    """Primary key: an opaque id of at most 64 characters."""
    return Field(primary_key=True, max_length=64)


def reference(target: str, *, index: bool = True, cascade: bool = False) -> Any:
    """Foreign key to ``table.column``."""
    if cascade:
        return Field(foreign_key=target, index=index, max_length=64, ondelete="CASCADE")
    return Field(foreign_key=target, index=index, max_length=64)


def instant(*, index: bool = False) -> Any:
    """A moment."""
    return Field(sa_type=UtcDateTime, index=index)


def maybe_instant() -> Any:
    """A moment, or none yet."""
    return Field(default=None, sa_type=UtcDateTime, nullable=True)


def set_index(table: str, column: str) -> Index:
    """An index of the rows whose ``column`` is set; the others cost nothing to write."""
    rows = text_clause(f"{column} IS NOT NULL")
    return Index(f"ix_{table}_{column}", column, sqlite_where=rows, postgresql_where=rows)


def json_column() -> Any:
    """A JSON document."""
    return Field(sa_type=JSON)


def maybe_json() -> Any:
    """A JSON document, or none."""
    # None is no value: as JSON it would be a null, which a query takes for something.
    return Field(default=None, sa_type=JSON(none_as_null=True), nullable=True)


def maybe_bytes() -> Any:
    """Bytes, or none."""
    return Field(default=None, sa_type=LargeBinary, nullable=True)


def text(length: int) -> Any:
    """Text cut by the writer to ``length`` characters."""
    return Field(default="", sa_type=String(length))
