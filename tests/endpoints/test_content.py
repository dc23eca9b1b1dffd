"""The content endpoint over loopback: right bytes for a good link, nothing for any other."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import pytest
import pytest_asyncio
from sqlmodel import delete

from activities.store.assembly import Store
from activities.store.content import ATTACHMENT, Piece
from models.tables import ContentRow, Message, PartRow
from starter.endpoints.server import serving
from tests.endpoints.kit import (
    PNG,
    Answer,
    add_account,
    connected,
    opened,
    receive,
    settings,
    target_of,
)

FILE = random.Random(4).randbytes(90_000)
NOT_FOUND = b"there is nothing here, or no longer"


@dataclass
class Served:
    """Endpoints over a store with two mails."""

    store: Store
    port: int
    account_id: str
    mail: str
    other: str
    raw: bytes
    data_dir: Path

    def link(self, key: str) -> str:
        return target_of(self.store.links.sign(key)[0])

    async def get(self, target: str | bytes, method: str = "GET", **headers: str) -> Answer:
        async with connected(self.port) as connection:
            return await connection.ask(target, method, **headers)


def letter() -> bytes:
    mail = EmailMessage()
    mail["Subject"] = "A letter"
    mail["From"], mail["To"] = "ann@example.org", "bob@example.org"
    mail.set_content("Grüße\n")
    mail.add_alternative("<p onclick=x()>Grüße <script>x()</script></p>", subtype="html")
    mail.add_attachment(FILE, "application", "pdf", filename="Übersicht.pdf")
    mail.add_attachment(PNG, "image", "png", filename="dot.png")
    mail.add_attachment(b"<svg onload='x()'/>", "image", "svg+xml", filename="x.svg")
    mail.add_attachment("<script>x()</script>", subtype="html", filename="x.html")
    mail.add_attachment("plain", subtype="plain", filename="x.txt")
    return mail.as_bytes().replace(b"\n", b"\r\n")


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    described = settings(tmp_path)
    with opened(described) as store:
        account = add_account(store)
        raw = letter()
        mail = receive(store, account, raw)
        other = receive(store, account, b"Subject: other\r\n\r\nsecret\r\n")
        async with serving(described, store) as port:
            yield Served(store, port, account, mail, other, raw, tmp_path)


def assert_protected(answer: Answer) -> None:
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "no-store" in answer.headers["cache-control"]
    assert "set-cookie" not in answer.headers
    assert answer.headers["server"] == "email-connector"


@pytest.mark.parametrize(
    ("piece", "media_type", "disposition"),
    [
        ("raw", "message/rfc822", 'attachment; filename="{}.eml"'),
        ("text", "text/plain; charset=utf-8", 'inline; filename="{}.txt"'),
        ("html", "text/html; charset=utf-8", 'inline; filename="{}.html"'),
        (
            "part.0",
            "application/octet-stream",
            "attachment; filename=\"Ubersicht.pdf\"; filename*=UTF-8''%C3%9Cbersicht.pdf",
        ),
        ("part.1", "image/png", 'inline; filename="dot.png"'),
        ("part.2", "application/octet-stream", 'attachment; filename="x.svg"'),
        ("part.3", "application/octet-stream", 'attachment; filename="x.html"'),
        ("part.4", "text/plain; charset=utf-8", 'inline; filename="x.txt"'),
    ],
)
async def test_each_kind(served: Served, piece: str, media_type: str, disposition: str) -> None:
    answer = await served.get(served.link(f"{served.mail}.{piece}"))
    assert answer.status == 200
    assert_protected(answer)
    assert "sandbox" in answer.headers["content-security-policy"].split("; ")
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["content-type"] == media_type
    assert answer.headers["content-disposition"] == disposition.format(served.mail)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.body).hexdigest()}"'
    expected = {"raw": served.raw, "part.0": FILE, "part.1": PNG, "text": "Grüße".encode()}
    assert answer.body == expected.get(piece, answer.body)
    assert piece != "html" or answer.body.strip() == "<p>Grüße </p>".encode()
    head = await served.get(served.link(f"{served.mail}.{piece}"), "HEAD", range="bytes=0-1")
    assert (head.status, head.body) == (200, b"")
    assert {**head.headers, "date": ""} == {**answer.headers, "date": ""}


async def test_links_do_not_open_what_is_not_theirs(served: Served) -> None:
    good = served.link(f"{served.mail}.raw")
    path, _, query = good.partition("?")
    expired = served.store.links
    expired._lifetime = -expired._lifetime
    late = served.link(f"{served.mail}.raw")
    expired._lifetime = -expired._lifetime
    tampered = [
        late,
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        good.replace(served.mail, served.other),
        good.replace(".raw", ".text"),
        good.replace(".raw", ".part.0"),
        good.replace("key=k1", "key=k2"),
        good.replace("key=k1", "key="),
        good.replace("expires=", "expires=9"),
        good.replace("expires=", "expires=-"),
        good + "0",
        good + "&expires=1",
        good + "&x=1",
        good + "&" + query,
        path,
        path + "?",
        path + "?" + "&".join(reversed(query.split("&")[1:])),
        served.link("nothing.raw"),
        served.link(f"{served.mail}.part.99"),
        served.link(f"{served.mail}.part.00"),
        served.link(f"{served.mail}.part.-1"),
        served.link("nothing.part.0"),
    ]
    answers = [await served.get(target) for target in tampered]
    assert [t for t, a in zip(tampered, answers, strict=True) if a.status != 404] == []
    # No answer tells which of the reasons it was.
    assert len({answer.body for answer in answers}) == 1
    assert NOT_FOUND in answers[0].body
    for answer in answers:
        assert_protected(answer)
    reordered = path + "?" + "&".join(reversed(query.split("&")))
    assert (await served.get(reordered)).status == 200


async def test_path_tricks(served: Served) -> None:
    good = served.link(f"{served.mail}.raw")
    query = good.partition("?")[2]
    paths = [
        f"/content/../content/{served.mail}.raw",
        f"/content/./{served.mail}.raw",
        f"/content//{served.mail}.raw",
        f"//content/{served.mail}.raw",
        f"/content/x/../{served.mail}.raw",
        f"/content/{served.mail}.raw/",
        f"/content/{served.mail}%2eraw",
        f"/content/{served.mail}%252eraw",
        f"/content%2f{served.mail}.raw",
        f"/CONTENT/{served.mail}.raw",
        f"/content/{served.mail}.raw%00",
        f"/content/{served.mail}.raw%0a",
        f"/content/{served.mail}.raw;x=1",
        f"/content/%2e%2e%2f%2e%2e%2f{served.mail}.raw",
        "/content/..%2f..%2fkeys.json",
        "/content/%2e%2e/%2e%2e/keys.json",
        "/content/..%252f..%252fkeys.json",
        "/content/..%c0%afkeys.json",
        "/content/../keys.json",
        "/../../keys.json",
        "/keys.json",
        "/content/keys.json",
        "/content/codec-token",
        "/content/" + "a" * 101,
        "/content/",
        "/content",
        "/",
        "/static/x",
        f"http://127.0.0.1/content/%2e%2e/{served.mail}.raw",
    ]
    for path in paths:
        answer = await served.get(f"{path}?{query}")
        assert answer.status == 404, path
        assert_protected(answer)
    keys = (served.data_dir / "keys.json").read_bytes()
    for odd in (b"/content/\x00", b"/content/\xff\xfe", b"/content/" + b"a" * 9000, b"/a b"):
        answer = await served.get(odd)
        assert answer.status in (400, 404), odd
        assert keys not in answer.body
    assert (await served.get(good)).status == 200


async def test_too_many_or_too_long_headers(served: Served) -> None:
    good = served.link(f"{served.mail}.text")
    assert (await served.get(good, x="a" * 10_000)).status == 400
    many = {f"x{n}": "a" for n in range(200)}
    assert (await served.get(good, **many)).status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
async def test_only_get_and_head(served: Served, method: str) -> None:
    answer = await served.get(served.link(f"{served.mail}.text"), method)
    assert answer.status == 405
    assert sorted(answer.headers["allow"].split(",")) == ["GET", "HEAD"]
    assert_protected(answer)


async def test_what_waits_to_be_sent_is_not_served(served: Served) -> None:
    rows = served.store.content.prepare([Piece("upload", ATTACHMENT, "text/plain", b"secret")])
    with served.store.database.write() as session:
        served.store.content.insert(session, rows)
    assert (await served.get(served.link("upload"))).status == 404


def wanted(generator: random.Random, data: bytes) -> tuple[str, int, bytes, str]:
    """A random Range header, with the status, body and Content-Range it must lead to."""
    size = len(data)
    a, b = sorted(generator.choices(range(size + size // 8), k=2))
    header = generator.choice([f"{a}-{b}", f"{a}-", f"-{b}", f"{a}-{a}"])
    first, last = header.split("-")
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= size or stop <= start:
        return f"bytes={header}", 416, b"", f"bytes */{size}"
    return f"bytes={header}", 206, data[start:stop], f"bytes {start}-{stop - 1}/{size}"


async def test_10_000_ranges(served: Served) -> None:
    pieces = {
        f"{served.mail}.raw": served.raw,  # a file
        f"{served.mail}.text": "Grüße".encode(),  # in the database
        f"{served.mail}.part.0": FILE,
        f"{served.mail}.part.1": PNG,
    }
    links = {key: served.link(key) for key in pieces}

    async def many(seed: int) -> dict[int, int]:
        generator, seen = random.Random(seed), {206: 0, 416: 0}
        async with connected(served.port) as connection:
            for _ in range(2500):
                key = generator.choice(list(pieces))
                header, status, body, content_range = wanted(generator, pieces[key])
                answer = await connection.ask(links[key], range=header)
                assert answer.status == status, header
                assert answer.headers["content-range"] == content_range
                assert status == 416 or answer.body == body
                seen[status] += 1
        return seen

    counts = await asyncio.gather(*(many(seed) for seed in range(4)))
    assert sum(sum(each.values()) for each in counts) == 10_000
    assert min(counts[0].values()) > 5


async def test_ranges_that_are_ignored_or_conditional(served: Served) -> None:
    link = served.link(f"{served.mail}.raw")
    etag = (await served.get(link)).headers["etag"]
    whole = {"bytes=5-4", "bytes=x", "lines=1-2", "bytes=0-0,9-9"}
    for header in whole:
        answer = await served.get(link, range=header)
        assert (answer.status, answer.body) == (200, served.raw), header
    for if_range, status in ((etag, 206), (f"W/{etag}", 200), ('"other"', 200), ("x", 200)):
        answer = await served.get(link, range="bytes=0-9", if_range=if_range)
        assert answer.status == status, if_range
    date = "Sun, 22 Nov 2026 12:00:00 GMT"
    assert (await served.get(link, range="bytes=0-9", if_range=date)).status == 200
    assert (await served.get(link, if_none_match=etag)).status == 304
    assert (await served.get(link, if_none_match=f"W/{etag}")).status == 304
    assert (await served.get(link, if_none_match='"other"')).status == 200
    assert (await served.get(link, if_match='"other"')).status == 412
    assert (await served.get(link, if_match=etag)).status == 200


async def test_an_empty_piece(served: Served) -> None:
    mail = EmailMessage()
    mail.set_content("x")
    mail.add_attachment(b"", "application", "zip", filename="empty.zip")
    empty = receive(served.store, served.account_id, mail.as_bytes())
    link = served.link(f"{empty}.part.0")
    answer = await served.get(link)
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")
    answer = await served.get(link, range="bytes=0-")
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */0")


async def test_what_is_deleted_is_gone(served: Served) -> None:
    links = [served.link(f"{served.mail}.{piece}") for piece in ("raw", "part.0")]
    for link in links:
        assert (await served.get(link)).status == 200
    with served.store.database.write() as session:
        for table in (PartRow, ContentRow, Message):
            session.connection().execute(delete(table))
    for link in links:
        assert (await served.get(link)).status == 404


async def test_damaged_content_is_never_taken_for_whole(served: Served) -> None:
    (file,) = [f for f in (served.data_dir / "content").rglob("*") if f.is_file()]
    data = bytearray(file.read_bytes())
    data[10] ^= 1
    file.write_bytes(data)
    answer = await served.get(served.link(f"{served.mail}.raw"))
    assert (answer.status, "etag" in answer.headers) == (500, False)
    assert b"ContentDamaged" in answer.body
    file.write_bytes(data[:-5])
    answer = await served.get(served.link(f"{served.mail}.raw"), range="bytes=-9")
    assert answer.status == 500


async def test_damage_found_late_breaks_the_connection(served: Served) -> None:
    large = receive(served.store, served.account_id, b"Subject: x\r\n\r\n" + b"a" * 700_000)
    with served.store.database.read() as session:
        row = session.get(ContentRow, f"{large}.raw")
        assert row
    (file,) = [
        f
        for f in (served.data_dir / "content").rglob("*")
        if f.is_file() and f.stat().st_size == row.size
    ]
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await served.get(served.link(f"{large}.raw"))


async def test_a_store_that_is_away(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    folder = served.data_dir / "content"
    raw, text = served.link(f"{served.mail}.raw"), served.link(f"{served.mail}.text")
    (file,) = [f for f in folder.rglob("*") if f.is_file()]
    file.unlink()
    file.mkdir()
    answer = await served.get(raw)
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert b"StoreUnavailable" in answer.body
    assert_protected(answer)
    with served.store.database.write() as session:
        session.connection().exec_driver_sql("ALTER TABLE content RENAME TO gone")
    assert (await served.get(text)).status == 503
    assert str(folder) not in caplog.text


async def test_health(served: Served) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await served.get(path)
        assert (answer.status, answer.body) == (200, b"ok\n")
    engine = served.store.database.engine
    engine.dispose()
    database = served.data_dir / "email-connector.db"
    for file in served.data_dir.glob("email-connector.db*"):
        file.unlink()
    database.mkdir()
    assert (await served.get("/healthz")).status == 200
    assert (await served.get("/readyz")).status == 503


async def test_logs_hold_no_link(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    link = served.link(f"{served.mail}.html")
    await served.get(link)
    await served.get(link + "0")
    await served.get(link, x="a" * 10_000)
    await served.get(link, "BAD METHOD\x01")
    await served.get(link, **{"bad header": "x"})
    assert "GET html 200" in caplog.text
    assert "GET - 404" in caplog.text
    signature = link.rpartition("=")[2]
    for secret in (signature, served.mail, "a" * 50):
        assert secret not in caplog.text
