"""The MIME tree of a mail (RFC 2045, 2046), read over the raw octets.

Outer boundaries are looked for before inner ones, so a damaged inner part cannot swallow its
neighbours. Every level is one search over its own range, and levels are bounded: linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from activities.mail.charset import decode_octets
from activities.mail.envelope import clean_line
from activities.mail.headers import Headers, read_headers
from activities.mail.parameters import Parameterised, read_parameterised
from activities.mail.transfer import undo_transfer

MAX_DEPTH: Final = 50
"""Levels of multipart that are opened; a deeper one stays one closed part."""

MAX_PARTS: Final = 10_000
"""Parts of one mail; what follows stays in the last one."""

_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127}")
_BOUNDARY_OCTETS: Final = frozenset(
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'()+_,-./:=?"
)
TEXT: Final = Parameterised("text/plain", {})
MESSAGE: Final = Parameterised("message/rfc822", {})
NOTHING: Final = Parameterised("", {})


class Part:
    """A node of the tree. ``children`` is None for a leaf; enclosed messages are leaves."""

    __slots__ = ("children", "content", "content_id", "content_type", "disposition", "headers")

    def __init__(self, headers: Headers, default: Parameterised) -> None:
        self.headers = headers
        values = headers.get("content-type")
        self.content_type = read_parameterised(values[0]) if values else default
        if not _TYPE.fullmatch(self.content_type.value):
            # What cannot be understood is text (RFC 2045 §5.2) or mixed (RFC 2046 §5.1.7).
            several = self.content_type.value.startswith("multipart/")
            kind = "multipart/mixed" if several else "text/plain"
            self.content_type = Parameterised(kind, self.content_type.parameters)
        values = headers.get("content-disposition")
        self.disposition = read_parameterised(values[0]) if values else NOTHING
        values = headers.get("content-id")
        self.content_id = (
            (clean_line(decode_octets(values[0])).strip("<> ") or None) if values else None
        )
        self.children: list[Part] | None = None
        self.content = b""
        """The octets of a leaf, transfer encoding undone."""

    @property
    def type(self) -> str:
        """``text/plain`` and so on, lower case."""
        return self.content_type.value

    @property
    def transfer_encoding(self) -> str:
        """The Content-Transfer-Encoding, lower case; empty where there is none."""
        values = self.headers.get("content-transfer-encoding")
        return values[0].partition(";")[0].strip(" \t\"'").lower() if values else ""

    @property
    def charset(self) -> str | None:
        """The declared charset of a text."""
        return self.content_type.parameters.get("charset")

    @property
    def name(self) -> str:
        """The file name that the sender gave, or an empty string."""
        return (
            self.disposition.parameters.get("filename")
            or self.content_type.parameters.get("name")
            or self.disposition.parameters.get("name")
            or ""
        )

    def leaves(self) -> Iterator[Part]:
        """All leaves from here on, depth first."""
        if self.children is None:
            yield self
        else:
            for child in self.children:
                yield from child.leaves()


def read_structure(raw: bytes) -> Part:
    """The tree of a mail; never raises."""
    return _Reader(raw).part(0, len(raw), TEXT, 0)


class _Reader:
    """Reads one mail; counts its parts."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._parts = 0

    def part(self, start: int, end: int, default: Parameterised, depth: int) -> Part:
        self._parts += 1
        headers, body = read_headers(self._raw, start, end)
        part = Part(headers, default)
        if part.type.startswith("multipart/") and depth < MAX_DEPTH:
            ranges = self._children(part, body, end)
            if ranges is not None:
                inner = MESSAGE if part.type == "multipart/digest" else TEXT
                part.children = [self.part(*found, inner, depth + 1) for found in ranges]
                return part
            # Not a delimiter in it: better shown as text than not at all.
            part.content_type = TEXT
        part.content = undo_transfer(self._raw[body:end], part.transfer_encoding)
        return part

    def _children(self, part: Part, start: int, end: int) -> list[tuple[int, int]] | None:
        boundary = part.content_type.parameters.get("boundary", "")
        ranges = self._between(boundary, start, end)
        if ranges is None and boundary != boundary.rstrip():
            ranges = self._between(boundary.rstrip(), start, end)
        if ranges is None and not boundary:
            ranges = self._between(self._guess(start, end), start, end)
        return ranges

    def _between(self, boundary: str, start: int, end: int) -> list[tuple[int, int]] | None:
        """The ranges between the delimiters; None if there is no delimiter at all.

        RFC 2046 §5.1.1: a line that begins with two hyphens and the boundary is a delimiter, what
        follows it on the line is padding. Something that goes on directly is another boundary.
        """
        if not boundary:
            return None
        delimiter = b"--" + boundary.encode("utf-8", "surrogateescape")
        raw, size = self._raw, len(delimiter)
        ranges: list[tuple[int, int]] = []
        seen = False
        opened = -1
        position = start
        while self._parts + len(ranges) < MAX_PARTS:
            hit = raw.find(delimiter, position, end)
            if hit < 0:
                break
            position = hit + size
            if hit > start and raw[hit - 1] != 10:
                continue
            closing = raw[position : position + 2] == b"--"
            after = position + 2 * closing
            if after < end and raw[after] in _BOUNDARY_OCTETS:
                continue
            seen = True
            if opened >= 0:
                ranges.append((opened, max(opened, _before_break(raw, hit))))
                opened = -1
            if closing:
                break
            line_end = raw.find(b"\n", position, end)
            # The line break before a delimiter belongs to it, also when two follow each other.
            opened = end if line_end < 0 else line_end + 1
            position = opened - 1
        if opened >= 0:
            ranges.append((opened, end))
        return ranges if seen else None

    def _guess(self, start: int, end: int) -> str:
        """The boundary of a multipart that names none: its first line that begins with ``--``."""
        raw = self._raw
        if raw[start : start + 2] != b"--":
            start = raw.find(b"\n--", start, end) + 1
            if not start:
                return ""
        stop = raw.find(b"\n", start, end)
        line = raw[start + 2 : end if stop < 0 else stop].strip(b"\r \t")
        return line[:200].decode("ascii", "surrogateescape")


def _before_break(raw: bytes, position: int) -> int:
    """``position`` without the line break before it."""
    if raw[position - 1 : position] == b"\n":
        position -= 1
        if raw[position - 1 : position] == b"\r":
            position -= 1
    return position
