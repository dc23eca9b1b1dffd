"""The DATA writer alone: what it lets out, whatever comes in and however it is cut."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.mail.smtp_data import CHUNK_BYTES, DataEncoder, encoded_chunks

# Mostly what matters: line ends, dots, NUL.
contents = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"..", b"\0", b"a", b"\x80", b"x" * 90])
    | st.binary(max_size=8),
    max_size=60,
).map(b"".join)


def normalised(content: bytes) -> bytes:
    """The meaning of ``content``: lines ended by CRLF, the last one too; written the slow way."""
    lines = re.split(rb"\r\n|\r|\n", content.replace(b"\0", b""))
    if lines[-1] == b"":
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


def encoded(pieces: list[bytes]) -> bytes:
    encoder = DataEncoder()
    wire = b"".join([encoder.feed(piece) for piece in pieces]) + encoder.finish()
    return wire + encoder.terminator


def check(wire: bytes, content: bytes) -> None:
    assert b"\0" not in wire
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", wire), "bare CR or LF"
    assert wire.endswith(b"\r\n.\r\n") or wire == b".\r\n"
    lines = wire.split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    body = lines[:-2]
    assert b"." not in body, "a second end of data"
    assert all(line.startswith(b"..") for line in body if line.startswith(b"."))
    received = b"".join(line.removeprefix(b".") + b"\r\n" for line in body)
    assert received == normalised(content)


@given(contents, st.lists(st.integers(0, 400), max_size=8))
@settings(max_examples=500)
def test_any_content_cut_anywhere(content: bytes, cuts: list[int]) -> None:
    borders = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    pieces = [content[a:b] for a, b in pairwise(borders)]
    check(encoded(pieces), content)


@given(contents)
def test_byte_by_byte_is_the_same_as_at_once(content: bytes) -> None:
    assert encoded([content[i : i + 1] for i in range(len(content))]) == encoded([content])


@pytest.mark.parametrize("tail", [b"", b"\r", b"\n", b"\r\n", b".", b"\r\n.", b"\r\n.\r\n", b"\0"])
@pytest.mark.parametrize("offset", range(-3, 4))
def test_borders_of_real_chunks(offset: int, tail: bytes) -> None:
    content = b"a" * (CHUNK_BYTES + offset - 2) + tail + b".b\r\n" + b"\r\n.\n" * 3 + tail
    encoder = DataEncoder()
    check(b"".join(encoded_chunks(content, encoder)) + encoder.terminator, content)


def test_ready_content_is_handed_on_uncopied() -> None:
    content = b"Subject: x\r\n\r\nready\r\n" * 100
    assert DataEncoder().feed(content) is content


def test_large_content_is_quick() -> None:
    ready = (b"0123456789" * 7 + b"\r\n") * 200_000
    ugly = ready.replace(b"\r\n0", b"\n.")
    for content in (ready, ugly):
        begin = time.perf_counter()
        total = sum(map(len, encoded_chunks(content, DataEncoder())))
        assert total >= len(content)
        # 14 MB; about 0.05 s on an idle machine, so this only fails on a per-byte algorithm.
        assert time.perf_counter() - begin < 2
