"""Content: small pieces in the database, large ones named by their key in the blob store."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Field, SQLModel

from models.tables.columns import id_column, instant, maybe_bytes, text


class ContentRow(SQLModel, table=True):
    """One piece of content. ``data`` is None when it lies in the blob store under ``key``."""

    __tablename__ = "content"

    key: str = id_column()
    message_id: str | None = Field(default=None, max_length=64, index=True)
    """The mail it belongs to; None while it waits to be used by one (``content_ref``)."""
    kind: str = Field(max_length=16)
    media_type: str = Field(max_length=255)
    size: int
    sha256: str = Field(max_length=64)
    data: bytes | None = maybe_bytes()
    created_at: datetime = instant()


class PartRow(SQLModel, table=True):
    """An attachment of a stored mail.

    Its bytes are read out of the raw mail when asked for: a copy beside it would double what is
    written for every mail.
    """

    __tablename__ = "message_part"

    message_id: str = Field(
        foreign_key="message.id", primary_key=True, max_length=64, ondelete="CASCADE"
    )
    number: int = Field(primary_key=True)
    name: str = text(4000)
    media_type: str = text(4000)
    position: str = Field(max_length=16)
    content_id: str | None = Field(default=None, max_length=998)
    size: int
