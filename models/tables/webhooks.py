"""Webhooks: events that are posted, their attempts, and the keys that sign them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import LargeBinary
from sqlmodel import Field, SQLModel

from models.tables.columns import CHAIN_CHARS, id_column, instant, maybe_instant, reference


class WebhookDelivery(SQLModel, table=True):
    """An event and how far it got. ``body`` is what every attempt posts, byte for byte."""

    __tablename__ = "webhook_delivery"

    id: str = id_column()
    account_id: str | None = Field(default=None, max_length=64, index=True)
    batch_id: str | None = Field(default=None, max_length=64)
    type: str = Field(max_length=64)
    origin: str = Field(max_length=300)
    """Scheme, host and port of the URL."""
    url: bytes = Field(sa_type=LargeBinary)
    """Sealed: path and query of a URL are often all that keeps strangers from posting to it."""
    body: bytes = Field(sa_type=LargeBinary)
    request_hash: str = Field(max_length=64)
    """sha256 of the request, to tell a repeated key from a conflicting one."""
    state: str = Field(max_length=16, index=True)
    driver: str = Field(max_length=CHAIN_CHARS)
    """The workflow chain that delivers it."""
    attempts: int = 0
    error_type: str | None = Field(default=None, max_length=64)
    created_at: datetime = instant(index=True)
    ended_at: datetime | None = maybe_instant()


class WebhookAttempt(SQLModel, table=True):
    """One request. What the receiver wrote into its reply is kept nowhere."""

    __tablename__ = "webhook_attempt"

    id: str = id_column()
    webhook_id: str = reference("webhook_delivery.id", cascade=True)
    origin: str = Field(max_length=300)
    started_at: datetime = instant()
    duration_ms: int | None = None
    """None: the worker did not live to see the end."""
    status_code: int | None = None
    error_type: str | None = Field(default=None, max_length=64)


class WebhookKey(SQLModel, table=True):
    """A key that the receivers' secrets are derived from; the newest one and those it replaced."""

    __tablename__ = "webhook_key"

    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    sealed: bytes = Field(sa_type=LargeBinary)
    created_at: datetime = instant()
    retires_at: datetime | None = maybe_instant()
