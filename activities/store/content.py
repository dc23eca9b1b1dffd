"""Content: small pieces in the database, large ones in a blob store, durable before the commit.

Order of writing: ``prepare`` (large pieces are written durably), then ``insert`` within the
transaction of the row that refers to them. A crash in between leaves an unreferenced blob, never a
row without its content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy
from sqlalchemy import LargeBinary, func, insert
from sqlmodel import Session, col, select

from activities.store.blobs import Blobs
from activities.store.tallies import tally
from models.errors import ConnectorError, ErrorType
from models.metrics import CONTENT_BYTES
from models.tables import ContentRow

ATTACHMENT = "attachment"
"""Kind of a file that is stored to be sent, by ``content_ref``."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of content to store."""

    key: str
    kind: str
    media_type: str
    data: bytes
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of a stored piece without reading it."""

    key: str
    message_id: str | None
    kind: str
    media_type: str
    size: int
    """Bytes."""
    sha256: str
    """Hexadecimal."""
    inline: bool
    """Whether it stands in the database."""


class ContentStore:
    """Writes and reads pieces of content.

    Args:
        blobs: Where pieces above ``inline_limit`` bytes go.
        inline_limit: Largest piece kept in the database, in bytes.
    """

    def __init__(self, blobs: Blobs, inline_limit: int) -> None:
        self._blobs = blobs
        self._inline_limit = inline_limit

    def prepare(self, pieces: Iterable[Piece]) -> list[dict[str, Any]]:
        """Make large pieces durable; returns the rows for ``insert``."""
        now = datetime.now(UTC)
        rows: list[dict[str, Any]] = []
        large: list[tuple[str, bytes]] = []
        for piece in pieces:
            inline = len(piece.data) <= self._inline_limit
            digest = hashlib.sha256(piece.data).hexdigest()
            if not inline:
                large.append((blob_key(piece.key, digest), piece.data))
            rows.append(
                {
                    "key": piece.key,
                    "message_id": piece.message_id,
                    "kind": piece.kind,
                    "media_type": piece.media_type[:255],
                    "size": len(piece.data),
                    "sha256": digest,
                    "data": piece.data if inline else None,
                    "created_at": now,
                }
            )
        self._blobs.put(large)
        return rows

    @staticmethod
    def insert(session: Session, rows: Sequence[dict[str, Any]]) -> None:
        """Insert prepared rows."""
        if rows:
            session.connection().execute(insert(ContentRow), rows)
            tally_content(session, rows)

    def forget(self, pieces: Iterable[tuple[str, str]]) -> None:
        """Delete large pieces, given as (key, sha256), after their rows are gone."""
        for key, digest in pieces:
            self._blobs.forget(blob_key(key, digest))

    def read(self, session: Session, key: str) -> tuple[ContentRow, bytes]:
        """Return a piece with its row; a damaged file is an error, never wrong bytes."""
        row = session.exec(select(ContentRow).where(col(ContentRow.key) == key)).one_or_none()
        if row is None:
            raise _unknown_key()
        if row.data is not None:
            return row, row.data
        data = self._blobs.get(blob_key(key, row.sha256))
        if hashlib.sha256(data).hexdigest() != row.sha256:
            raise _damaged()
        return row, data

    def describe(self, session: Session, key: str) -> Description:
        """Return what is known of a piece, without its bytes; raises ``ContentNotFound``."""
        columns = (
            col(ContentRow.message_id),
            col(ContentRow.kind),
            col(ContentRow.media_type),
            col(ContentRow.size),
            col(ContentRow.sha256),
            col(ContentRow.data).is_not(None),
        )
        query = sqlalchemy.select(*columns).where(col(ContentRow.key) == key)
        found = session.connection().execute(query).one_or_none()
        if found is None:
            raise _unknown_key()
        return Description(key, *found)

    def read_range(self, session: Session, piece: Description, start: int, end: int) -> bytes:
        """Return the bytes of a piece from ``start`` up to, not including, ``end``.

        A part has no hash of its own: only a wrong length is noticed, not a changed byte.

        Raises:
            ValueError: The range is not within the piece.
            ConnectorError: ``ContentNotFound``, or ``ContentDamaged`` when the piece is shorter
                than its row says.
        """
        if not 0 <= start <= end <= piece.size:
            raise ValueError(f"not a range within {piece.size} bytes: {start} to {end}")
        if piece.inline:
            part = func.substr(ContentRow.data, start + 1, end - start, type_=LargeBinary)
            data = session.exec(select(part).where(ContentRow.key == piece.key)).one_or_none()
            if data is None:
                raise _unknown_key()
        else:
            data = self._blobs.read_range(blob_key(piece.key, piece.sha256), start, end)
        if len(data) != end - start:
            raise _damaged()
        return data

    def check(self) -> None:
        """Prove that large pieces can be written; the error says which setting to correct."""
        self._blobs.check()


def tally_content(session: Session, rows: Iterable[dict[str, Any]]) -> None:
    """Count the octets of new content."""
    for row in rows:
        place = "blob" if row["data"] is None else "database"
        tally(session, CONTENT_BYTES, row["size"], place=place)


def blob_key(key: str, digest: str) -> str:
    """Key of a large piece in the blob store."""
    # The hash belongs to the name: a step that is repeated with other bytes (a frozen worker that
    # wakes up) must never replace what a committed row refers to.
    return f"{key}.{digest}"


def _unknown_key() -> ConnectorError:
    return ConnectorError(ErrorType.CONTENT_NOT_FOUND, "there is no content with this key")


def _damaged() -> ConnectorError:
    return ConnectorError(ErrorType.CONTENT_DAMAGED, "the stored content is damaged")
