"""Content: small pieces in the database, large ones in files that are durable before the commit.

Order of writing: ``prepare`` (large pieces are written and fsynced), then ``insert`` within the
transaction of the row that refers to them. A crash in between leaves an unreferenced file, never a
row without its content.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from sqlalchemy import insert
from sqlmodel import Session, col, select

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


class Blobs(Protocol):
    """Where large pieces lie."""

    def put(self, pieces: Sequence[tuple[str, bytes]]) -> None:
        """Write all pieces; on return they survive a power cut."""

    def get(self, key: str) -> bytes:
        """Read a piece. Raises ``ContentNotFound``."""

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Read bytes from ``start`` up to, not including, ``stop``. Raises ``ContentNotFound``."""

    def forget(self, key: str) -> None:
        """Delete a piece; one that is gone is fine."""


class LocalBlobs:
    """Files named by key, mode 0600, two levels of folders."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, pieces: Sequence[tuple[str, bytes]]) -> None:
        """Write, fsync and rename each file, then fsync each folder once."""
        touched: set[Path] = set()
        for key, data in pieces:
            path = self._path(key)
            for parent in (path.parent.parent, path.parent):
                if not parent.exists():
                    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    touched.add(parent.parent)
            _write_durably(path, data)
            touched.add(path.parent)
        for folder in touched:
            _sync_folder(folder)

    def get(self, key: str) -> bytes:
        """Read a piece."""
        with _reading():
            return self._path(key).read_bytes()

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Read a part of a piece."""
        with _reading(), self._path(key).open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def forget(self, key: str) -> None:
        """Delete a piece."""
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()  # a key is data, never a path
        return self._folder / name[:2] / name


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ConnectorError(
            ErrorType.CONTENT_NOT_FOUND, "the content's file is missing from the blob store"
        ) from None
    except OSError as error:
        raise ConnectorError(
            ErrorType.STORE_UNAVAILABLE,
            f"the blob store cannot be read (error {error.errno}); it is tried again",
        ) from None


def _write_durably(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        temporary.replace(path)
    except BaseException:
        # It is tried again; what a full disk did not take must not fill it further.
        temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_blobs(url: str) -> Blobs:
    """Return the blob store at ``url`` (``file:///FOLDER``)."""
    parts = urlsplit(url)
    if parts.scheme != "file":
        raise ConnectorError(
            ErrorType.INVALID_INPUT,
            f"blob stores of kind '{parts.scheme}' are not supported; use file:///FOLDER",
            field="EMAIL_CONNECTOR_BLOB_URL",
        )
    return LocalBlobs(Path(url2pathname(parts.path)))


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
                large.append((_blob_name(piece.key, digest), piece.data))
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
        try:
            self._blobs.put(large)
        except OSError as error:
            raise ConnectorError(
                ErrorType.STORE_UNAVAILABLE,
                f"the blob store cannot be written (error {error.errno}); it is tried again",
            ) from None
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
            self._blobs.forget(_blob_name(key, digest))

    def read(self, session: Session, key: str) -> tuple[ContentRow, bytes]:
        """Return a piece with its row; a damaged file is an error, never wrong bytes."""
        row = session.exec(select(ContentRow).where(col(ContentRow.key) == key)).one_or_none()
        if row is None:
            raise ConnectorError(ErrorType.CONTENT_NOT_FOUND, "there is no content with this key")
        if row.data is not None:
            return row, row.data
        data = self._blobs.get(_blob_name(key, row.sha256))
        if hashlib.sha256(data).hexdigest() != row.sha256:
            raise ConnectorError(ErrorType.CONTENT_DAMAGED, "the stored content is damaged")
        return row, data

    def read_range(self, row: ContentRow, start: int, stop: int) -> bytes:
        """Return bytes of a piece from ``start`` up to, not including, ``stop``.

        A part cannot be compared with the hash of the whole; only its length is checked.
        """
        if row.data is not None:
            return row.data[start:stop]
        data = self._blobs.get_range(_blob_name(row.key, row.sha256), start, stop)
        if len(data) != stop - start:
            raise ConnectorError(ErrorType.CONTENT_DAMAGED, "the stored content is damaged")
        return data


def tally_content(session: Session, rows: Iterable[dict[str, Any]]) -> None:
    """Count the octets of new content."""
    for row in rows:
        place = "blob" if row["data"] is None else "database"
        tally(session, CONTENT_BYTES, row["size"], place=place)


def _blob_name(key: str, digest: str) -> str:
    # The hash belongs to the name: a step that is repeated with other bytes (a frozen worker that
    # wakes up) must never replace what a committed row refers to.
    return f"{key}.{digest}"
