"""Large content, in folders and on S3: the same promises, and errors that say what to do."""

from __future__ import annotations

import hashlib
import http.server
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from activities.store.blob_stores import open_blobs
from activities.store.blobs import Blobs, path_of
from activities.store.content import ContentStore, Description, Piece
from activities.store.engine import Database
from models.errors import ConnectorError, ErrorType
from models.settings import Settings
from starter.connection import opened_store
from tests.stores import object_at
from tests.unit.store_kit import database
from tools.servers.process import LOOPBACK, free_port
from tools.servers.s3 import S3Server

__all__ = ["database"]

LIMIT = 100


@pytest.fixture(scope="module")
def bucket(s3: S3Server) -> str:
    return s3.create_bucket(f"bucket-{uuid.uuid4().hex}")


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a blob store of its own lies."""
    if request.param == "file":
        return (tmp_path / "content").as_uri()
    return f"{request.getfixturevalue('bucket')}/a folder/{uuid.uuid4().hex}"


@pytest.fixture
def blobs(url: str) -> Blobs:
    opened = open_blobs(url)
    opened.check()
    return opened


def failure(blobs: Blobs, key: str) -> ConnectorError:
    with pytest.raises(ConnectorError) as caught:
        blobs.get(key)
    return caught.value


class TestEveryKind:
    @pytest.mark.parametrize("size", [0, 1, 100_000, 12_000_000])
    def test_what_is_put_is_read(self, blobs: Blobs, size: int) -> None:
        data = os.urandom(size)
        blobs.put([("key", data)])
        assert blobs.get("key") == data

    def test_many_at_once(self, blobs: Blobs) -> None:
        pieces = [(f"key {n}", os.urandom(500)) for n in range(50)]
        blobs.put(pieces)
        assert [(key, blobs.get(key)) for key, _ in pieces] == pieces

    def test_ranges(self, blobs: Blobs) -> None:
        data = bytes(range(200))
        blobs.put([("key", data)])
        for start, end in ((0, 1), (0, 200), (17, 20), (199, 200), (5, 5), (150, 900)):
            assert blobs.read_range("key", start, end) == data[start:end]

    def test_a_key_is_data_never_a_path(self, blobs: Blobs) -> None:
        key = "../../etc/\x00/äö?versionId=1#"
        blobs.put([(key, b"x")])
        assert blobs.get(key) == b"x"
        assert failure(blobs, "etc").type is ErrorType.CONTENT_NOT_FOUND

    def test_what_is_not_there(self, blobs: Blobs) -> None:
        assert failure(blobs, "missing").type is ErrorType.CONTENT_NOT_FOUND
        with pytest.raises(ConnectorError) as caught:
            blobs.read_range("missing", 0, 1)
        assert caught.value.type is ErrorType.CONTENT_NOT_FOUND

    def test_gone_is_gone(self, blobs: Blobs) -> None:
        blobs.put([("key", b"x"), ("other", b"y")])
        blobs.forget("key")
        blobs.forget("key")
        assert failure(blobs, "key").type is ErrorType.CONTENT_NOT_FOUND
        assert blobs.get("other") == b"y"

    def test_a_folder_can_become_a_bucket_as_it_is(self, blobs: Blobs, url: str) -> None:
        blobs.put([("key", b"x")])
        where = f"{url}/{path_of('key')}"
        if url.startswith("file:"):
            assert Path(url.removeprefix("file://"), path_of("key")).read_bytes() == b"x"
        else:
            assert object_at(where) == b"x"


class TestRangesOfContent:
    @pytest.fixture
    def content(self, blobs: Blobs) -> ContentStore:
        return ContentStore(blobs, LIMIT)

    @pytest.fixture(params=[LIMIT, LIMIT + 1], ids=["inline", "large"])
    def piece(
        self, request: pytest.FixtureRequest, content: ContentStore, database: Database
    ) -> Piece:
        data = os.urandom(request.param)
        piece = Piece(str(uuid.uuid4()), "raw", "message/rfc822", data, "mail")
        rows = content.prepare([piece])
        with database.write() as session:
            content.insert(session, rows)
        return piece

    def test_a_piece_is_described_without_its_bytes(
        self, content: ContentStore, database: Database, piece: Piece
    ) -> None:
        with database.read() as session:
            found = content.describe(session, piece.key)
        digest = hashlib.sha256(piece.data).hexdigest()
        size = len(piece.data)
        assert found == Description(
            piece.key, "mail", "raw", "message/rfc822", size, digest, inline=size <= LIMIT
        )

    def test_any_range_is_read(
        self, content: ContentStore, database: Database, piece: Piece
    ) -> None:
        size = len(piece.data)
        with database.read() as session:
            found = content.describe(session, piece.key)
            for start, end in ((0, size), (0, 0), (size, size), (1, 2), (size - 1, size), (7, 93)):
                assert content.read_range(session, found, start, end) == piece.data[start:end]
            for start, end in ((-1, 3), (4, 3), (0, size + 1), (size + 1, size + 1)):
                with pytest.raises(ValueError, match="range"):
                    content.read_range(session, found, start, end)

    def test_what_is_not_there(
        self, content: ContentStore, database: Database, piece: Piece
    ) -> None:
        with database.read() as session:
            with pytest.raises(ConnectorError) as caught:
                content.describe(session, "missing")
            assert caught.value.type is ErrorType.CONTENT_NOT_FOUND
            found = content.describe(session, piece.key)
        with database.write() as session:
            session.delete(content.read(session, piece.key)[0])
        content.forget([(found.key, found.sha256)])
        with database.read() as session, pytest.raises(ConnectorError) as caught:
            content.read_range(session, found, 0, 5)
        assert caught.value.type is ErrorType.CONTENT_NOT_FOUND

    def test_a_piece_that_was_cut_is_noticed(
        self, content: ContentStore, database: Database, blobs: Blobs
    ) -> None:
        piece = Piece(str(uuid.uuid4()), "raw", "message/rfc822", os.urandom(LIMIT * 2))
        rows = content.prepare([piece])
        with database.write() as session:
            content.insert(session, rows)
        blobs.put([(f"{piece.key}.{rows[0]['sha256']}", piece.data[:50])])
        with database.read() as session:
            found = content.describe(session, piece.key)
            assert content.read_range(session, found, 0, 50) == piece.data[:50]
            with pytest.raises(ConnectorError) as caught:
                content.read_range(session, found, 0, 51)
        assert caught.value.type is ErrorType.CONTENT_DAMAGED


def opening(tmp_path: Path, url: str) -> ConnectorError:
    """The error with which a store over this blob store refuses to open."""
    settings = Settings(data_dir=tmp_path / "data", database_url=None, blob_url=url)
    with pytest.raises(ConnectorError) as caught, opened_store(settings):
        pass
    assert caught.value.field == "EMAIL_CONNECTOR_BLOB_URL"
    assert url not in str(caught.value)
    return caught.value


class TestStart:
    def test_a_bucket_that_does_not_exist(self, s3: S3Server, tmp_path: Path) -> None:
        error = opening(tmp_path, "s3://no-such-bucket/mail")
        assert error.type is ErrorType.INVALID_INPUT
        assert "bucket" in error.message

    def test_credentials_that_are_wrong(self, bucket: str, s3: S3Server, tmp_path: Path) -> None:
        s3.refuse_everybody()
        try:
            error = opening(tmp_path, f"{bucket}/mail")
        finally:
            s3.admit_everybody()
        assert error.type is ErrorType.INVALID_INPUT
        assert "AWS_SECRET_ACCESS_KEY" in error.message
        assert s3.secret_key not in error.message

    def test_nobody_listens(
        self, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{LOOPBACK}:{free_port()}")
        error = opening(tmp_path, "s3://bucket/mail")
        assert error.type is ErrorType.STORE_UNAVAILABLE
        assert "AWS_ENDPOINT_URL" in error.message

    def test_plain_http_has_to_be_allowed(
        self, bucket: str, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ALLOW_HTTP")
        assert "AWS_ALLOW_HTTP" in opening(tmp_path, f"{bucket}/mail").message

    @pytest.mark.parametrize("url", ["s3:///x", "s3://Bad Bucket/x", "az://container/x"])
    def test_urls_that_make_no_sense(self, tmp_path: Path, url: str) -> None:
        assert opening(tmp_path, url).type is ErrorType.INVALID_INPUT

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("not a folder")
        error = opening(tmp_path, (tmp_path / "file" / "content").as_uri())
        assert error.type is ErrorType.STORE_UNAVAILABLE


class Scripted(http.server.ThreadingHTTPServer):
    """Answers every request alike, and counts them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.code, self.body, self.requests = 500, b"", 0


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Scripted

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests += 1
        self.send_response(self.server.code)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - the names are the protocol's

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def scripted(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    with Scripted() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{LOOPBACK}:{server.server_address[1]}")
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("code", [301, 400, 401, 403, 404, 409, 429, 500, 503])
def test_an_answer_is_never_quoted_and_never_gives_a_mail_up(scripted: Scripted, code: int) -> None:
    scripted.code = code
    scripted.body = b"<Error><Code>NoSuchBucket</Code><Message>canary</Message></Error>"
    blobs = open_blobs("s3://bucket/prefix")
    for step in (
        lambda: blobs.put([("key", b"data")]),
        lambda: blobs.put([("key", b"data"), ("other", b"data")]),
        lambda: blobs.get("key"),
        lambda: blobs.read_range("key", 0, 2),
        lambda: blobs.forget("key"),
    ):
        scripted.requests = 0
        with pytest.raises(ConnectorError) as caught:
            step()
        error = caught.value
        assert error.type is ErrorType.STORE_UNAVAILABLE
        assert error.temporary
        assert error.__suppress_context__
        for secret in ("canary", "bucket/prefix", LOOPBACK):
            assert secret not in str(error)
        # What may pass is tried again a few times, what will not pass is not.
        assert scripted.requests <= (10 if code in (429, 500, 503) else 2)


def test_a_piece_that_is_gone_is_told_from_a_bucket_that_is_gone(scripted: Scripted) -> None:
    scripted.code = 404
    scripted.body = b"<Error><Code>NoSuchKey</Code></Error>"
    assert failure(open_blobs("s3://bucket/prefix"), "key").type is ErrorType.CONTENT_NOT_FOUND
