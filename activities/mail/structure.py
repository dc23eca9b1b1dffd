"""The MIME tree of a mail (RFC 2045, 2046), read over the raw octets without copying them.

Outer boundaries are looked for before inner ones, so a damaged inner part cannot swallow its
neighbours. Every level is one search over its own range, and levels are bounded: linear time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from activities.mail.headers import Headers, read_headers
from activities.mail.parameters import Parameterised, read_parameterised
from activities.mail.transfer import undo_transfer

MAX_DEPTH: Final = 50
"""Levels of multipart that are opened; a deeper one stays one closed part."""

MAX_PARTS: Final = 10_000
"""Parts of one mail; what follows stays in the last one."""

_BREAKS: Final = b"\r\n"
_AFTER_BOUNDARY: Final = b"\r\n\t "
_DEFAULT: Final = Parameterised("text/plain")
_DIGEST: Final = Parameterised("message/rfc822")
_NONE: Final = Parameterised("")


@dataclass(slots=True)
class Part:
    """A node of the tree; a leaf has no ``children``, ``multipart`` tells the two apart."""

    raw: bytes
    headers: Headers
    start: int
    end: int
    content_type: Parameterised
    children: list[Part] = field(default_factory=list)
    multipart: bool = False
    _disposition: Parameterised | None = None

    @property
    def type(self) -> str:
        """``text/plain`` and so on, lower case."""
        return self.content_type.value

    @property
    def disposition(self) -> Parameterised:
        """The Content-Disposition; its value is empty where there is none."""
        if self._disposition is None:
            values = self.headers.get("content-disposition")
            self._disposition = read_parameterised(values[0]) if values else _NONE
        return self._disposition

    @property
    def name(self) -> str:
        """The file name that the sender gave, or an empty string."""
        return (
            self.disposition.parameters.get("filename")
            or self.content_type.parameters.get("name")
            or self.disposition.parameters.get("name")
            or ""
        )

    @property
    def content_id(self) -> str | None:
        """The Content-ID without angle brackets (RFC 2392)."""
        values = self.headers.get("content-id")
        return (values[0].strip().strip("<>").strip() or None) if values else None

    def content(self) -> bytes:
        """The octets of a leaf with the transfer encoding undone."""
        values = self.headers.get("content-transfer-encoding")
        data = self.raw[self.start : self.end]
        if not values:
            return data
        return undo_transfer(data, values[0].partition(";")[0].strip(" \t\"'").lower())


def read_structure(raw: bytes) -> Part:
    """The tree of a mail; never raises."""
    return _Reader(raw).part(0, len(raw), _DEFAULT, 0)


def leaves(part: Part) -> Iterator[Part]:
    """All leaves below ``part``, depth first; enclosed messages are leaves."""
    stack = [part]
    while stack:
        node = stack.pop()
        if node.multipart:
            stack.extend(reversed(node.children))
        else:
            yield node


class _Reader:
    """Reads one mail; counts its parts."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._parts = 0

    def part(self, start: int, end: int, default: Parameterised, depth: int) -> Part:
        self._parts += 1
        headers, body = read_headers(self._raw, start, end)
        values = headers.get("content-type")
        content_type = read_parameterised(values[0]) if values else default
        if "/" not in content_type.value:
            # RFC 2045 §5.2: what cannot be understood is text.
            content_type = Parameterised("text/plain", content_type.parameters)
        part = Part(self._raw, headers, body, end, content_type)
        if content_type.value.startswith("multipart/") and depth < MAX_DEPTH:
            self._divide(part, depth)
        return part

    def _divide(self, part: Part, depth: int) -> None:
        """Find the children of a multipart; without any delimiter its body is shown as text."""
        boundary = part.content_type.parameters.get("boundary", "")
        ranges = self._ranges(part, boundary)
        if ranges is None and boundary != boundary.rstrip():
            ranges = self._ranges(part, boundary.rstrip())
        if ranges is None and not boundary:
            ranges = self._ranges(part, self._guessed_boundary(part))
        if ranges is None:
            part.content_type = Parameterised("text/plain")
            return
        part.multipart = True
        default = _DIGEST if part.type == "multipart/digest" else _DEFAULT
        for start, end in ranges:
            part.children.append(self.part(start, end, default, depth + 1))

    def _ranges(self, part: Part, boundary: str) -> list[tuple[int, int]] | None:
        """The ranges between the delimiters; None if there is no delimiter at all.

        RFC 2046 §5.1.1: a line that begins with two hyphens and the boundary is a delimiter, what
        follows it on the line is padding. Something that goes on directly is another boundary.
        """
        delimiter = b"--" + boundary.encode("utf-8", "surrogateescape")
        raw, end, size = self._raw, part.end, len(delimiter)
        if not boundary:
            return None
        ranges: list[tuple[int, int]] = []
        seen = False
        opened = -1
        position = part.start
        while True:
            hit = raw.find(delimiter, position, end)
            if hit < 0:
                break
            position = hit + size
            if hit > part.start and raw[hit - 1] != 10:
                continue
            closing = raw[position : position + 2] == b"--"
            after = raw[position + 2 * closing : position + 2 * closing + 1]
            if position < end and after and after not in _AFTER_BOUNDARY:
                continue
            seen = True
            if opened >= 0:
                ranges.append((opened, max(opened, _before_break(raw, hit))))
                opened = -1
            if closing:
                break
            line_end = raw.find(b"\n", position, end)
            if line_end < 0:
                opened = end
                break
            opened = position = line_end + 1
            # The line break before a delimiter belongs to it, also when two follow each other.
            position -= 1
            if self._parts + len(ranges) >= MAX_PARTS:
                break
        if opened >= 0:
            ranges.append((opened, end))
        return ranges if seen else None

    def _guessed_boundary(self, part: Part) -> str:
        """The boundary of a multipart that names none: its first line that begins with ``--``."""
        raw = self._raw
        start = part.start
        if raw[start : start + 2] != b"--":
            start = raw.find(b"\n--", part.start, part.end) + 1
            if not start:
                return ""
        stop = raw.find(b"\n", start, part.end)
        line = raw[start + 2 : part.end if stop < 0 else stop].strip(b"\r \t")
        return line[:200].decode("ascii", "surrogateescape")


def _before_break(raw: bytes, position: int) -> int:
    """``position`` without the line break before it."""
    if raw[position - 1 : position] == b"\n":
        position -= 1
        if raw[position - 1 : position] == b"\r":
            position -= 1
    return position
