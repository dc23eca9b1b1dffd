"""The ledger of sending: what is to be sent, who may send it, and what every attempt did."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, false
from sqlmodel import Field, SQLModel

from models.tables.columns import (
    CHAIN_CHARS,
    id_column,
    instant,
    json_column,
    maybe_instant,
    maybe_json,
    reference,
    set_index,
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
    __table_args__ = (
        # The order in which the queue is drained, account by account.
        Index("ix_delivery_queue", "account_id", "queued", "state", "priority", "next_attempt_at"),
        set_index("delivery", "next_attempt_at"),
        set_index("delivery", "verify_at"),
        set_index("delivery", "tell_at"),
    )

    id: str = id_column()
    message_id: str = reference("message.id", cascade=True)
    account_id: str = reference("email_account.id", index=False)
    rendition_id: str = reference("rendition.id", index=False)
    envelope_from: str = Field(max_length=320)
    state: str = Field(max_length=20, index=True)
    epoch: int = 0
    lease_owner: str | None = Field(default=None, max_length=CHAIN_CHARS)
    attempts: int = 0
    next_attempt_at: datetime | None = maybe_instant()
    queued: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    """Whether the queue sends it; else the workflow that composed it does."""
    priority: int = Field(default=3, sa_column_kwargs={"server_default": "3"})
    """1 goes first, 5 last."""
    max_attempts: int | None = None
    give_up_at: datetime | None = maybe_instant()
    expires_at: datetime | None = maybe_instant()
    unknown_policy: str = Field(
        default="verify", max_length=16, sa_column_kwargs={"server_default": "verify"}
    )
    leased_until: datetime | None = maybe_instant()
    """Until then the worker that drains the queue holds it; afterwards it is taken over."""
    held_reason: str | None = Field(default=None, max_length=64)
    """Why nothing is tried until a person acts: an error type, or ``operator``."""
    verify_at: datetime | None = maybe_instant()
    """When the Sent folder is looked at for a mail whose outcome is unknown."""
    verifications: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    tell_at: datetime | None = maybe_instant()
    """Since when somebody is to be told what became of it."""
    sent_copy: str | None = Field(default=None, max_length=16)
    """State of the copy in the Sent folder (``models.delivery.SentCopy``)."""
    dsn: dict[str, Any] | None = maybe_json()
    """Delivery status notifications asked for (RFC 3461): ``notify`` and ``ret``."""


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


class SendingSlot(SQLModel, table=True):
    """The right to hold one connection, leased, so that a limit holds across workers."""

    __tablename__ = "sending_slot"

    scope: str = Field(primary_key=True, max_length=320)
    """``account/ID`` or ``host/NAME``."""
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    owner: str = Field(max_length=64)
    leased_until: datetime = instant()


class SlowDown(SQLModel, table=True):
    """A server that asked for patience: nothing is sent within ``scope`` until then."""

    __tablename__ = "slow_down"

    scope: str = Field(primary_key=True, max_length=320)
    until: datetime = instant()
    strikes: int = 0
    """How often in a row it has asked; the pause grows with it."""
    code: int | None = None
    enhanced_code: str | None = Field(default=None, max_length=16)
