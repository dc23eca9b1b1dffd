"""``winmail.dat``, built by hand."""

from __future__ import annotations

import base64
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.mail.compressed_rtf import decompress_rtf
from activities.mail.parse import parse
from activities.mail.tnef import read_tnef
from models.message import AttachmentPosition

RENDERING, TITLE, DATA, PROPERTIES = 0x00069002, 0x00018010, 0x0006800F, 0x00069005
MESSAGE, BODY, CODEPAGE, VERSION = 0x00069003, 0x0002800C, 0x00069007, 0x00089006
STRING, UNICODE, OBJECT, BINARY, NUMBER = 0x1E, 0x1F, 0x0D, 0x102, 0x03
MESSAGE_INTERFACE = bytes.fromhex("0703020000000000c000000000000046")
RTF = rb"{\rtf1\ansi\ansicpg1252\pard hello world}" + b"\r\n"
# [MS-OXRTFCP] §3.1.1: the compressed form of the text above.
COMPRESSED = bytes.fromhex(
    "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af320"
    "68656c090020627705b06c647d0a800fa0"
)


def attribute(identifier: int, value: bytes, level: int = 2) -> bytes:
    checksum = sum(value) & 0xFFFF
    return struct.pack("<BII", level, identifier, len(value)) + value + struct.pack("<H", checksum)


def stream(*attributes: bytes) -> bytes:
    return b"\x78\x9f\x3e\x22\x01\x00" + attribute(VERSION, b"\0\0\1\0", 1) + b"".join(attributes)


def variable(identifier: int, kind: int, value: bytes) -> bytes:
    padded = value + b"\0" * (-len(value) % 4)
    return struct.pack("<HHII", kind, identifier, 1, len(value)) + padded


def properties(*entries: bytes) -> bytes:
    return struct.pack("<I", len(entries)) + b"".join(entries)


def attachment(title: bytes, data: bytes, *entries: bytes) -> bytes:
    return (
        attribute(RENDERING, b"\1\0" + b"\0" * 12)
        + attribute(TITLE, title + b"\0")
        + attribute(DATA, data)
        + (attribute(PROPERTIES, properties(*entries)) if entries else b"")
    )


def winmail(content: bytes, *more: str, text: bool = True) -> bytes:
    body = ["--b", "Content-Type: text/plain", "", "shown"] if text else []
    return "\r\n".join(
        [
            "Content-Type: multipart/mixed; boundary=b",
            "",
            *body,
            *more,
            "--b",
            "Content-Type: application/ms-tnef; name=winmail.dat",
            "Content-Transfer-Encoding: base64",
            "",
            base64.encodebytes(content).decode(),
            "--b--",
        ]
    ).encode()


def test_files() -> None:
    found = read_tnef(
        stream(
            attribute(CODEPAGE, struct.pack("<II", 1251, 0), 1),
            attachment("привет.txt".encode("cp1251"), b"one\0\0"),
            attachment(
                b"LONG~1.TXT",
                b"two",
                struct.pack("<HHI", NUMBER, 0x3705, 1),
                variable(0x3707, UNICODE, "a long näme.txt\0".encode("utf-16-le")),
                variable(0x370E, STRING, b"image/png\0"),
                variable(0x3712, STRING, b"<pic@x>\0"),
            ),
        )
    )
    assert found is not None
    assert [(f.name, f.data, f.content_type, f.content_id) for f in found.files] == [
        ("привет.txt", b"one\0\0", "application/octet-stream", None),
        ("a long näme.txt", b"two", "image/png", "pic@x"),
    ]


def test_names_that_several_bear() -> None:
    found = read_tnef(stream(attachment(b"a.txt", b"1"), attachment(b"a.txt", b"2")))
    assert found is not None
    assert [file.name for file in found.files] == ["a.1.txt", "a.2.txt"]


def test_bodies() -> None:
    found = read_tnef(
        stream(
            attribute(BODY, b"text\0", 1),
            attribute(
                MESSAGE,
                properties(
                    # A named property and a list before those that matter.
                    struct.pack("<HH", STRING, 0x8001)
                    + b"g" * 16
                    + struct.pack("<II", 1, 6)
                    + "ab\0".encode("utf-16-le")
                    + b"\0\0"
                    + struct.pack("<II", 1, 2)
                    + b"v\0\0\0",
                    struct.pack("<HHI", 0x1000 | NUMBER, 0x1234, 2) + b"\0" * 8,
                    variable(0x1013, BINARY, "<p>ü</p>".encode("cp1252")),
                    struct.pack("<HHI", NUMBER, 0x3FDE, 1252),
                    variable(0x1009, BINARY, COMPRESSED),
                ),
                1,
            ),
        )
    )
    assert found is not None
    assert (found.text, found.html, found.rtf) == ("text", "<p>ü</p>", RTF)


def test_in_a_mail_all_becomes_ordinary() -> None:
    inner = stream(attachment(b"inner.txt", b"inside"))
    content = stream(
        attachment(b"a.pdf", b"%PDF"),
        attribute(RENDERING, b"\1\0" + b"\0" * 12)
        + attribute(TITLE, b"mail\0")
        + attribute(PROPERTIES, properties(variable(0x3701, OBJECT, MESSAGE_INTERFACE + inner))),
        attribute(MESSAGE, properties(variable(0x1009, BINARY, COMPRESSED)), 1),
    )
    read = parse(winmail(content))
    assert read.text == "shown"
    assert [(part.name, part.data) for part in read.parts] == [
        ("winmail.dat", content),
        ("a.pdf", b"%PDF"),
        ("mail", inner),
        ("message.rtf", RTF),
        ("inner.txt", b"inside"),
    ]


def test_in_a_mail_without_a_body_its_own_stands_in() -> None:
    content = stream(
        attribute(BODY, b"inside\0", 1),
        attachment(b"p.png", b"png", variable(0x3712, STRING, b"pic@x\0")),
        attribute(
            MESSAGE, properties(variable(0x1013, BINARY, b'<img src="cid:pic@x">')), 1
        ),
    )  # fmt: skip
    read = parse(winmail(content, text=False))
    assert (read.text, read.html) == ("inside", '<img src="cid:pic@x">')
    assert [(part.name, part.position) for part in read.parts] == [
        ("winmail.dat", AttachmentPosition.NORMAL),
        ("p.png", AttachmentPosition.INLINE),
    ]


def test_no_stream() -> None:
    assert read_tnef(b"") is None
    assert read_tnef(b"PK\3\4") is None
    read = parse(winmail(b"PK\3\4"))
    assert [part.name for part in read.parts] == ["winmail.dat"]


HOSTILE = [
    # More properties, values, octets announced than there are.
    stream(attachment(b"a", b"x"), attribute(PROPERTIES, b"\xff\xff\xff\xff")),
    stream(attribute(MESSAGE, struct.pack("<IHHI", 1, BINARY, 0x1013, 0xFFFFFFFF), 1)),
    stream(attribute(MESSAGE, struct.pack("<IHHII", 1, BINARY, 0x1013, 1, 0xFFFFFFFF), 1)),
    stream(attribute(MESSAGE, struct.pack("<IHHI", 1, 0x1000 | NUMBER, 1, 0xFFFFFFFF), 1)),
    stream(attribute(MESSAGE, struct.pack("<IHH", 9, 0x7777, 1), 1)),
    stream(struct.pack("<BII", 2, DATA, 0xFFFFFFFF)),
    stream(attribute(DATA, b"before any attachment")),
    stream(*[attribute(RENDERING, b"")] * 100_000),
    stream(*[attribute(0, b"")] * 300_000),
    stream(attribute(MESSAGE, struct.pack("<I", 300_000) + b"\x03\0\1\0\0\0\0\0" * 300_000, 1)),
    stream(attribute(CODEPAGE, b"\xff\xff\xff\xff", 1), attachment(b"\xff", b"")),
    b"\x78\x9f\x3e\x22",
]


@pytest.mark.parametrize("content", HOSTILE)
def test_hostile_streams(content: bytes) -> None:
    start = time.process_time()
    found = read_tnef(content)
    assert found is not None
    assert len(found.files) <= 1000
    assert time.process_time() - start < 2


@given(st.binary(max_size=300))
def test_any_stream(content: bytes) -> None:
    assert read_tnef(b"\x78\x9f\x3e\x22" + content) is not None


@given(st.data())
def test_a_damaged_stream(data: st.DataObject) -> None:
    whole = stream(
        attachment(b"a.txt", b"one", variable(0x3707, UNICODE, b"a\0b\0")),
        attribute(MESSAGE, properties(variable(0x1009, BINARY, COMPRESSED)), 1),
    )
    octets = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 5))):
        if octets:
            octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    read_tnef(bytes(octets))


def test_rich_text() -> None:
    assert decompress_rtf(COMPRESSED) == RTF
    stored = struct.pack("<IIII", len(RTF) + 12, len(RTF), 0x414C454D, 0) + RTF
    assert decompress_rtf(stored) == RTF
    assert decompress_rtf(b"") is None
    assert decompress_rtf(b"\0" * 16) is None
    for end in range(len(COMPRESSED)):
        cut = decompress_rtf(COMPRESSED[:end])
        assert cut is None or RTF.startswith(cut)


def test_rich_text_that_would_grow_too_much() -> None:
    body = b"\x00" + b"a" * 8 + b"\xff" + b"\x0c\xff" * 8
    bomb = struct.pack("<IIII", 0xFFFFFFFF, 1, 0x75465A4C, 0) + body * 100_000
    start = time.process_time()
    assert decompress_rtf(bomb) is None
    assert time.process_time() - start < 3


@given(st.binary(max_size=500))
def test_any_rich_text(body: bytes) -> None:
    decompress_rtf(struct.pack("<IIII", len(body) + 12, 0, 0x75465A4C, 0) + body)
