"""Mails in both directions, and the timeline of what happened to them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from models.tables.columns import (
    CHAIN_CHARS,
    id_column,
    instant,
    json_column,
    maybe_instant,
    maybe_json,
    reference,
    text,
)


class Message(SQLModel, table=True):
    """A mail.

    An incoming one is identified by the hash of its raw bytes within its account, so that labels,
    moves and a new UIDVALIDITY do not repeat it.
    """

    __tablename__ = "message"
    __table_args__ = (
        UniqueConstraint("account_id", "direction", "identity"),
        Index("ix_message_internet_id", "account_id", "internet_message_id"),
    )

    id: str = id_column()
    account_id: str = reference("email_account.id", index=False)
    direction: str = Field(max_length=16)
    identity: str = Field(max_length=64)
    """Incoming: sha256 of the raw mail, hexadecimal. Outgoing: the idempotency key's hash or id."""
    request_hash: str | None = Field(default=None, max_length=64)
    """Outgoing: sha256 of the request, to tell a repeated key from a conflicting one."""
    driver: str | None = Field(default=None, max_length=CHAIN_CHARS)
    """Outgoing: the workflow chain that sends it."""
    callbacks: dict[str, Any] | None = maybe_json()
    """Outgoing: who is told of the outcome of a queued mail, by kind."""
    status: str = Field(max_length=20, index=True)
    internet_message_id: str | None = Field(default=None, max_length=998)
    in_reply_to: str | None = Field(default=None, max_length=998)
    references: list[str] | None = maybe_json()
    subject: str = text(2000)
    sender: str = text(1000)
    to: list[str] = json_column()
    cc: list[str] = json_column()
    reply_to: list[str] | None = maybe_json()
    date: datetime | None = maybe_instant()
    size: int = 0
    attachments: int = 0
    quarantined: str | None = Field(default=None, max_length=500)
    created_at: datetime = instant(index=True)
    sent_at: datetime | None = maybe_instant()


class LogEntry(SQLModel, table=True):
    """One step in the life of a mail, an account or a retrieval. No content, no peer's words."""

    __tablename__ = "log_entry"

    id: int | None = Field(default=None, primary_key=True)
    at: datetime = instant(index=True)
    account_id: str | None = Field(default=None, max_length=64, index=True)
    message_id: str | None = Field(default=None, max_length=64, index=True)
    event: str = Field(max_length=64, index=True)
    error_type: str | None = Field(default=None, max_length=64)
    detail: dict[str, Any] = json_column()
