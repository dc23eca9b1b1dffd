"""Content: small pieces in the database, large ones in private files, damage never unnoticed."""

from __future__ import annotations

import hashlib
import os
import resource
import stat
import uuid
from pathlib import Path

import pytest

from activities.store.blob_stores import open_blobs
from activities.store.content import ContentStore, Piece
from activities.store.engine import Database
from activities.store.local_blobs import LocalBlobs
from models.errors import ConnectorError, ErrorType
from tests.unit.store_kit import database

__all__ = ["database"]

LIMIT = 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "content"


@pytest.fixture
def content(folder: Path) -> ContentStore:
    return ContentStore(open_blobs(folder.as_uri()), LIMIT)


def piece(size: int, key: str | None = None) -> Piece:
    return Piece(key or str(uuid.uuid4()), "raw", "message/rfc822", os.urandom(size))


def stored(content: ContentStore, database: Database, *pieces: Piece) -> None:
    rows = content.prepare(pieces)
    with database.write() as session:
        content.insert(session, rows)


def digest(piece: Piece) -> str:
    return hashlib.sha256(piece.data).hexdigest()


def file_of(folder: Path, piece: Piece) -> Path:
    name = hashlib.sha256(f"{piece.key}.{digest(piece)}".encode()).hexdigest()
    return folder / name[:2] / name


def read(content: ContentStore, database: Database, key: str) -> bytes:
    with database.read() as session:
        row, data = content.read(session, key)
        assert row.size == len(data)
        assert row.sha256 == hashlib.sha256(data).hexdigest()
        return data


def failure(content: ContentStore, database: Database, key: str) -> ErrorType:
    with pytest.raises(ConnectorError) as caught:
        read(content, database, key)
    return caught.value.type


@pytest.mark.parametrize("size", [0, 1, LIMIT, LIMIT + 1, 100_000])
def test_what_is_written_is_read(
    content: ContentStore, database: Database, folder: Path, size: int
) -> None:
    written = piece(size)
    stored(content, database, written)
    assert read(content, database, written.key) == written.data
    assert file_of(folder, written).exists() == (size > LIMIT)


def test_large_pieces_are_private(content: ContentStore, database: Database, folder: Path) -> None:
    old = os.umask(0)
    try:
        written = piece(1000)
        stored(content, database, written)
    finally:
        os.umask(old)
    file = file_of(folder, written)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    # Nothing half-written is left.
    assert list(file.parent.iterdir()) == [file]


def test_a_file_is_there_before_its_row(
    content: ContentStore, database: Database, folder: Path
) -> None:
    written = piece(1000)
    content.prepare([written])
    assert file_of(folder, written).read_bytes() == written.data
    assert failure(content, database, written.key) is ErrorType.CONTENT_NOT_FOUND


def test_a_late_writer_with_other_bytes_destroys_nothing(
    content: ContentStore, database: Database
) -> None:
    written = piece(1000)
    stored(content, database, written)
    content.prepare([Piece(written.key, written.kind, written.media_type, b"x" * 1000)])
    assert read(content, database, written.key) == written.data


def test_writing_again_is_harmless(content: ContentStore, database: Database) -> None:
    written = piece(1000)
    content.prepare([written])
    stored(content, database, written)
    assert read(content, database, written.key) == written.data


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "more"])
def test_damage_is_noticed(
    content: ContentStore, database: Database, folder: Path, damage: str
) -> None:
    written = piece(1000)
    stored(content, database, written)
    data = written.data
    changed = {
        "flip": bytes([data[0] ^ 1]) + data[1:],
        "cut": data[:-1],
        "empty": b"",
        "more": data + b"x",
    }[damage]
    file_of(folder, written).write_bytes(changed)
    assert failure(content, database, written.key) is ErrorType.CONTENT_DAMAGED


def test_a_missing_file(content: ContentStore, database: Database, folder: Path) -> None:
    written = piece(1000)
    stored(content, database, written)
    content.forget([(written.key, digest(written))])
    assert not file_of(folder, written).exists()
    assert failure(content, database, written.key) is ErrorType.CONTENT_NOT_FOUND
    content.forget([(written.key, digest(written))])  # gone is gone


def test_a_key_is_data_never_a_path(
    content: ContentStore, database: Database, folder: Path
) -> None:
    written = piece(1000, key=f"../../{uuid.uuid4().hex}/\x00äö")
    content.prepare([written])
    files = [path for path in folder.parent.rglob("*") if path.is_file()]
    assert files == [file_of(folder, written)]


def test_a_full_or_broken_disk_is_temporary(content: ContentStore, folder: Path) -> None:
    folder.write_text("a file where a folder should be")
    with pytest.raises(ConnectorError) as caught:
        content.prepare([piece(1000)])
    assert caught.value.type is ErrorType.STORE_UNAVAILABLE
    assert caught.value.temporary
    assert str(folder) not in str(caught.value)


def test_what_a_full_disk_did_not_take_is_removed(content: ContentStore, folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(ConnectorError) as caught:
            content.prepare([piece(1000), piece(20_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.type is ErrorType.STORE_UNAVAILABLE
    assert [f.stat().st_size for f in folder.rglob("*") if f.is_file()] == [1000]


@pytest.mark.parametrize("url", ["ftp://host/mail", "mail", "", "file://host/mail", "s4://b/p"])
def test_unknown_kinds_are_refused(url: str) -> None:
    with pytest.raises(ConnectorError) as caught:
        open_blobs(url)
    assert caught.value.type is ErrorType.INVALID_INPUT
    assert caught.value.field == "EMAIL_CONNECTOR_BLOB_URL"


def test_a_folder_is_named_by_its_url(tmp_path: Path) -> None:
    blobs = open_blobs((tmp_path / "with space").as_uri())
    assert isinstance(blobs, LocalBlobs)
    blobs.check()
    assert (tmp_path / "with space").is_dir()
