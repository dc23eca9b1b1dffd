"""Accounts with their sealed secrets."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlmodel import Field, SQLModel

from models.tables.columns import id_column, instant, json_column, maybe_bytes, maybe_instant


class AccountRow(SQLModel, table=True):
    """An e-mail account. ``settings`` is an ``AccountSettings`` document without secrets."""

    __tablename__ = "email_account"

    id: str = id_column()
    name: str = Field(max_length=200, unique=True)
    settings: dict[str, Any] = json_column()
    outgoing_password: bytes | None = maybe_bytes()
    incoming_password: bytes | None = maybe_bytes()
    created_at: datetime = instant()
    updated_at: datetime = instant()
    paused_at: datetime | None = maybe_instant()
    """Since when an operator has paused sending."""
    parked_at: datetime | None = maybe_instant()
    """Since when sending waits for a person to mend the account."""
    parked_reason: str | None = Field(default=None, max_length=64)
    """Error type that parked it."""
