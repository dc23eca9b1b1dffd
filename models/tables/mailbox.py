"""Replication: folders with their lease, where each mail lies, and how far each consumer got."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, UniqueConstraint, false
from sqlmodel import Field, SQLModel

from models.tables.columns import (
    CHAIN_CHARS,
    id_column,
    instant,
    json_column,
    maybe_instant,
    reference,
)


def _big(*, primary_key: bool = False) -> Any:
    return Field(sa_type=BigInteger, primary_key=primary_key)


class Folder(SQLModel, table=True):
    """A folder of an account.

    ``lease_owner`` is the run that replicates it; ``lease_epoch`` grows with every step that may
    change the server, so that a frozen step finds itself overtaken.
    """

    __tablename__ = "folder"
    __table_args__ = (UniqueConstraint("account_id", "name"),)

    id: str = id_column()
    account_id: str = reference("email_account.id")
    name: str = Field(max_length=1000)
    lease_owner: str | None = Field(default=None, max_length=CHAIN_CHARS)
    lease_epoch: int = 0


class Location(SQLModel, table=True):
    """Where a mail lies on the server (RFC 9051 §2.3.1.1). ``handled_at``: removed or moved."""

    __tablename__ = "location"
    __table_args__ = (Index("ix_location_message", "message_id"),)

    folder_id: str = Field(foreign_key="folder.id", primary_key=True, max_length=64)
    uid_validity: int = _big(primary_key=True)
    uid: int = _big(primary_key=True)
    message_id: str = Field(foreign_key="message.id", max_length=64)
    handled_at: datetime | None = maybe_instant()


class Maildrop(SQLModel, table=True):
    """A POP3 mailbox, whose mails get numbers of ours in place of UIDs."""

    __tablename__ = "maildrop"

    account_id: str = Field(foreign_key="email_account.id", primary_key=True, max_length=64)
    uid_validity: int = _big(primary_key=True)
    """Names server and user; above 32 bits, so that it is never one of an IMAP folder."""
    uid_next: int = _big()


class Uidl(SQLModel, table=True):
    """The number of a mail that a maildrop holds (RFC 1939 §7: unique-id listing)."""

    __tablename__ = "uidl"

    account_id: str = Field(foreign_key="email_account.id", primary_key=True, max_length=64)
    uid_validity: int = _big(primary_key=True)
    uid: int = _big(primary_key=True)
    uidl: str = Field(max_length=255)
    """As the server gives it; copies of one mail may share it."""


class Cursor(SQLModel, table=True):
    """How far a consumer got in a folder: UIDs below ``uid_next`` are done but for ``holes``."""

    __tablename__ = "cursor"

    folder_id: str = Field(foreign_key="folder.id", primary_key=True, max_length=64)
    consumer: str = Field(primary_key=True, max_length=64)
    uid_validity: int = _big()
    uid_next: int = _big()
    holes: list[list[int]] = json_column()
    """Open ranges [first, last] below ``uid_next``, ascending."""
    highest_modseq: int | None = Field(default=None, sa_type=BigInteger)


class Retrieval(SQLModel, table=True):
    """The plan of one run: its UIDs in delivery order, so that batch *n* is always the same."""

    __tablename__ = "retrieval"

    id: str = id_column()
    folder_id: str = reference("folder.id")
    consumer: str = Field(max_length=64)
    owner: str = Field(max_length=CHAIN_CHARS)
    uid_validity: int = _big()
    options: dict[str, Any] = json_column()
    uids: list[list[int]] = json_column()
    """Ranges in delivery order; a descending range [9, 3] is delivered from 9 down to 3."""
    total: int
    rewound: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    """Whether its mails are told again, out of the store."""
    created_at: datetime = instant()
    ended_at: datetime | None = maybe_instant()


class CallbackDelivery(SQLModel, table=True):
    """One batch and its callback: ``stored → acknowledged → settled``, or ``abandoned``."""

    __tablename__ = "callback_delivery"

    id: str = id_column()
    retrieval_id: str = reference("retrieval.id")
    folder_id: str = reference("folder.id")
    consumer: str = Field(max_length=64)
    number: int
    state: str = Field(max_length=16, index=True)
    workflow_id: str | None = Field(default=None, max_length=255)
    created_at: datetime = instant()
    acknowledged_at: datetime | None = maybe_instant()
    settled_at: datetime | None = maybe_instant()


class BatchItem(SQLModel, table=True):
    """A UID of a batch. ``message_id`` is None when the mail was gone before it could be read."""

    __tablename__ = "batch_item"

    batch_id: str = Field(
        foreign_key="callback_delivery.id", primary_key=True, max_length=64, ondelete="CASCADE"
    )
    uid: int = _big(primary_key=True)
    position: int
    """Place in delivery order."""
    message_id: str | None = Field(default=None, max_length=64)
    skipped: bool = False
    """Too large to be read; it stays on the server, untouched, and the timeline says so."""
    known: bool = False
    """Already acknowledged by this consumer: handled on the server but not delivered again."""


class Acknowledgement(SQLModel, table=True):
    """A consumer has taken this mail over."""

    __tablename__ = "acknowledgement"

    consumer: str = Field(primary_key=True, max_length=64)
    message_id: str = Field(
        foreign_key="message.id", primary_key=True, max_length=64, ondelete="CASCADE"
    )
    at: datetime = instant()
