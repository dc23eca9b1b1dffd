"""The ledger of sending: what is to be sent, who may send it, and what every attempt did."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Field, SQLModel

from models.tables.columns import (
    CHAIN_CHARS,
    id_column,
    instant,
    json_column,
    maybe_instant,
    reference,
)


class Rendition(SQLModel, table=True):
    """Exact bytes that go on the wire, the same at every attempt."""

    __tablename__ = "rendition"

    id: str = id_column()
    message_id: str = reference("message.id", cascade=True)
    kind: str = Field(max_length=16)
    content_key: str = reference("content.key", index=False)


class Delivery(SQLModel, table=True):
    """One rendition to a set of recipients. Who holds ``epoch`` may transmit, nobody else."""

    __tablename__ = "delivery"

    id: str = id_column()
    message_id: str = reference("message.id", cascade=True)
    account_id: str = reference("email_account.id")
    rendition_id: str = reference("rendition.id", index=False)
    envelope_from: str = Field(max_length=320)
    state: str = Field(max_length=20, index=True)
    epoch: int = 0
    lease_owner: str | None = Field(default=None, max_length=CHAIN_CHARS)
    attempts: int = 0
    next_attempt_at: datetime | None = maybe_instant(index=True)


class Recipient(SQLModel, table=True):
    """One recipient of a delivery with the server's last word about it."""

    __tablename__ = "recipient"

    delivery_id: str = Field(
        foreign_key="delivery.id", primary_key=True, max_length=64, ondelete="CASCADE"
    )
    number: int = Field(primary_key=True)
    address: str = Field(max_length=320)
    kind: str = Field(max_length=3)
    state: str = Field(max_length=16)
    code: int | None = None
    enhanced_code: str | None = Field(default=None, max_length=16)
    reply: str | None = Field(default=None, max_length=1000)


class Attempt(SQLModel, table=True):
    """One transmission.

    ``dot_intent_at`` is committed before the final dot is written: an attempt with it and without
    an outcome is the only one whose result is unknown.
    """

    __tablename__ = "attempt"

    id: str = id_column()
    delivery_id: str = reference("delivery.id", cascade=True)
    rendition_id: str = reference("rendition.id", index=False)
    epoch: int
    owner: str = Field(max_length=CHAIN_CHARS)
    recipients: list[int] = json_column()
    """Numbers of the recipients this attempt is for; narrowed to the accepted ones at the dot."""
    phase: str = Field(max_length=16)
    started_at: datetime = instant()
    dot_intent_at: datetime | None = maybe_instant()
    ended_at: datetime | None = maybe_instant()
    outcome: str | None = Field(default=None, max_length=16)
    code: int | None = None
    error_type: str | None = Field(default=None, max_length=64)
