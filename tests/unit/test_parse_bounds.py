"""No mail makes the reader raise, and none makes it slow: bounds, bombs and random octets."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.mail.headers import MAX_VALUE
from activities.mail.mailboxes import MAX_ADDRESSES
from activities.mail.parse import parse
from activities.mail.structure import MAX_DEPTH, MAX_PARTS, read_structure
from activities.ports import ParsedMail

# The characters that mean something in a header or a body, and a few that do not.
ALPHABET = b'"(),:;<>@[]\\=?*%-_. \t\r\n\0aQbn8\xff'
WORDS = [
    b"\r\n",
    b"\r\n\r\n",
    b"\r\n ",
    b"--x",
    b"--x--",
    b"=?utf-8?q?",
    b"?=",
    b"=?utf-8?b?4pi6?=",
    b"To: ",
    b"Subject: ",
    b"Date: ",
    b"Content-Type: ",
    b"multipart/mixed; boundary=x",
    b"multipart/alternative; boundary=",
    b"message/rfc822",
    b"text/html; charset=",
    b"utf-7",
    b"application/ms-tnef",
    b"\x78\x9f\x3e\x22",
    b"Content-Transfer-Encoding: ",
    b"base64",
    b"quoted-printable",
    b"x-uuencode",
    b"begin 644 x\r\n",
    b"Content-Disposition: attachment; filename*0*=utf-8''",
    b"; filename*1=",
    b"%C3",
]


def is_sound(read: ParsedMail) -> None:
    """All text can be stored, all fields have their types."""
    for text in (read.subject, read.text, read.html, read.message_id, read.in_reply_to):
        assert text is None or isinstance(text.encode(), bytes)
    for name, address in (*read.from_, *read.to, *read.cc, *read.reply_to):
        assert "\n" not in name + address
        assert (name + address).encode() != b""
    for part in read.parts:
        assert part.name.encode()
        assert part.content_type.encode()
        assert isinstance(part.data, bytes)
    assert read.date is None or read.date.tzinfo is not None
    assert read.quarantined in (None, "empty")


@given(st.binary(max_size=400))
def test_any_octets(raw: bytes) -> None:
    is_sound(parse(raw))


@given(st.lists(st.sampled_from([bytes([c]) for c in ALPHABET] + WORDS), max_size=80))
def test_octets_that_mean_something(pieces: list[bytes]) -> None:
    is_sound(parse(b"".join(pieces)))


@given(
    st.sampled_from([b"From", b"Subject", b"Date", b"Content-Type", b"Content-Disposition", b"Cc"]),
    st.lists(st.sampled_from([bytes([c]) for c in ALPHABET] + WORDS), max_size=60),
)
def test_any_value(name: bytes, pieces: list[bytes]) -> None:
    is_sound(parse(name + b": " + b"".join(pieces) + b"\r\n\r\n--x\r\n\r\na\r\n--x--"))


# --- Time ---------------------------------------------------------------------------------------

VALUES = [
    b'"',
    b'""',
    b";",
    b"; ",
    b"\\",
    b'"\\',
    b'\\"',
    b'"\\";',
    b"(",
    b"()",
    b")(",
    b"<",
    b"<>",
    b"<@a,",
    b"<@a:",
    b",",
    b":",
    b"a@:",
    b"a@b,",
    b'"a" <a@b>,',
    b"g:a@b;",
    b"=?",
    b"=?utf-8?q?a",
    b"=?utf-8?q?a?= ",
    b"=?utf-8?b?YQ==?= ",
    b"=?utf-8?q?a?=\r\n ",
    b"?",
    b"=",
    b"%",
    b"'",
    b" ",
    b"\t",
    b"\r\n ",
    b"\r\n\t",
    b"a\r\n ",
    b"; a*0=b",
    b"; a*=utf-8''%41",
    b'; x="y"',
    b';x="\\',
    b"<a@b> ",
    b"<a@b",
    b"1",
    b"\0",
    b"\xff",
    "é".encode(),
]
FIELDS = [
    b"To: ",
    b"Subject: ",
    b"Date: ",
    b"References: ",
    b"Content-Type: text/plain",
    b"Content-Type: text/plain; name=",
    b"Content-Disposition: attachment; filename=",
    b"Content-Transfer-Encoding: ",
]


@pytest.mark.parametrize("field", FIELDS)
def test_no_value_takes_long(field: bytes) -> None:
    for value in VALUES:
        raw = field + value * (MAX_VALUE // len(value)) + b"\r\n\r\ntext"
        assert spent(lambda raw=raw: parse(raw)) <= 0.5, (field, value)  # type: ignore[misc]


def spent(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


MULTIPART = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
BASE64 = b"Content-Transfer-Encoding: base64\r\n\r\n"
QUOTED = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
BOMBS: dict[str, Callable[[int], bytes]] = {
    "fields": lambda n: b"a: b\r\n" * (n // 6) + b"\r\nx",
    "addresses": lambda n: b"To: a@b\r\n" * (n // 9) + b"\r\nx",
    "folds": lambda n: b"To: a@b\r\n" + b" ,a@b\r\n" * (n // 7) + b"\r\nx",
    "lines that are no fields": lambda n: b"a: b\r\n" + b"x\r\n" * (n // 3),
    "words": lambda n: b"Subject: " + b"=?utf-8?q?a?= " * (n // 14) + b"\r\n\r\nx",
    "parts": lambda n: MULTIPART + b"--b\r\n\r\nx\r\n" * (n // 10) + b"--b--",
    "empty parts": lambda n: MULTIPART + b"--b\r\n" * (n // 5),
    "one boundary in itself": lambda n: (MULTIPART + b"--b\r\n") * (n // 50),
    "boundaries within": lambda n: b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (i, i)
        for i in range(n // 56)
    ),
    "boundary lines that are none": lambda n: (
        b'Content-Type: multipart/mixed; boundary="' + b"-" * 70 + b'"\r\n\r\n' + b"-" * n
    ),
    "mails in mails": lambda n: b"Content-Type: message/rfc822\r\n\r\n" * (n // 32),
    "mails side by side": lambda n: (
        MULTIPART + b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: a\r\n\r\n" * (n // 50)
    ),
    "padding": lambda n: BASE64 + b"=" * n,
    "paddings": lambda n: BASE64 + b"YQ==\r\n" * (n // 6),
    "no base64": lambda n: BASE64 + b"!Y" * (n // 2),
    "spaces": lambda n: QUOTED + b" " * n,
    "soft breaks": lambda n: QUOTED + b"= " * (n // 2),
    "soft breaks beside octets": lambda n: QUOTED + b"\xff=" + b" " * n,
    "files in the text": lambda n: b"\r\n\r\n" + b"begin 644 a\r\nend\r\n" * (n // 18),
    "files without end": lambda n: b"\r\n\r\n" + b"begin 644 a\r\n" * (n // 13),
    "a file of tiny lines": lambda n: b"\r\n\r\nbegin 644 a\r\n" + b"!\r\n" * (n // 3),
    "utf-7": lambda n: b"Content-Type: text/plain; charset=utf-7\r\n\r\n" + b"+AGE-" * (n // 5),
    "pictures": lambda n: (
        MULTIPART
        + b"--b\r\nContent-Type: text/html\r\n\r\n"
        + b"cid:" * (n // 8)
        + b"\r\n--b\r\nContent-Type: image/png\r\nContent-ID: <a>\r\n"
        b"Content-Disposition: attachment\r\n\r\nx\r\n" * (n // 200)
    ),
    "letters": lambda n: b"a" * n,
    "colons": lambda n: b":" * n,
    "line feeds": lambda n: b"\n" * n,
    "carriage returns": lambda n: b"a" + b"\r" * n,
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_mail_takes_long(name: str) -> None:
    """Two megabytes within two seconds; four times as much may take no more than linear time."""
    small, large = BOMBS[name](500_000), BOMBS[name](2_000_000)
    before = spent(lambda: parse(small))
    # The best of three: a machine that is busy with something else slows one, not all.
    assert any(spent(lambda: parse(large)) <= max(0.6, before * 8) for _ in range(3))


# --- Bounds -------------------------------------------------------------------------------------


def test_a_value_is_cut() -> None:
    assert len(parse(b"Subject: " + b"a" * 100_000 + b"\r\n\r\nx").subject) == MAX_VALUE


def test_addresses_are_counted() -> None:
    assert len(parse(b"To: " + b"a@b," * 2000 + b"\r\n\r\nx").to) == MAX_ADDRESSES
    assert len(parse(b"To: a@b\r\n" * 2000 + b"\r\nx").to) == MAX_ADDRESSES
    assert len(parse(b"To: " + b"(c) a@b," * 2000 + b"\r\n\r\nx").to) == MAX_ADDRESSES


def test_parts_are_counted() -> None:
    raw = MULTIPART + b"--b\r\nContent-Type: image/png\r\n\r\nx\r\n" * (MAX_PARTS + 5) + b"--b--"
    parts = parse(raw).parts
    assert len(parts) == MAX_PARTS
    # Nothing is lost: the rest stays in the last one.
    assert parts[-1].data.count(b"image/png") == 5


def test_depth_is_counted() -> None:
    levels = [
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (i, i) for i in range(99)
    ]
    node, depth = read_structure(b"".join(levels) + b"\r\ntext"), 0
    while node.children is not None:
        node, depth = node.children[0], depth + 1
    assert depth == MAX_DEPTH
    assert node.content.endswith(b"text")


def test_deep_comments_and_groups() -> None:
    for value in (b"(" * 5000 + b")" * 5000 + b" a@b", b"g:" * 5000 + b"a@b"):
        assert parse(b"To: " + value + b"\r\n\r\nx").to[0][1] == "a@b"
