"""One FETCH response: its items in any order, its literals by length (RFC 9051 §7.5.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from activities.mail.dates import read_date
from activities.mail.imap_wire import MAX_LINE, Wire
from models.errors import ErrorType

_FETCH: Final = re.compile(rb"\* \d{1,10} FETCH \(", re.IGNORECASE)
# What most servers answer, in the order of our request; reading it at once halves our work.
_USUAL: Final = re.compile(
    rb"\* \d{1,10} FETCH \(UID (?P<uid>\d{1,10}) RFC822\.SIZE (?P<size>\d{1,20})"
    rb' INTERNALDATE "(?P<date>[^"\\]{1,40})" BODY\[\] \{(?P<octets>\d{1,20})\}$'
)
_LITERAL: Final = re.compile(rb"~?\{(\d{1,20})\+?\}$")
# A bracket belongs to its atom: BODY[HEADER.FIELDS (FROM)]<0>. What matches nothing is illegal.
_TOKEN: Final = re.compile(
    rb'(?P<paren>[()])|"(?P<quoted>(?:[^"\\]|\\.)*+)"'
    rb'|(?P<atom>(?:[^\s()"\[\]]|\[[^\]]*+\])++)|(?P<illegal>\S)',
    re.DOTALL,
)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_MAX_OTHER: Final = 256 * 1024
"""Octets of one response apart from the mail."""
_BODY: Final = b"BODY[]"
_FIELDS: Final = b"BODY[HEADER.FIELDS"

Token = tuple[str, bytes]
"""Its kind (``atom``, ``text``, ``paren``) and its value."""


@dataclass(slots=True)
class Items:
    """What a FETCH response says about a message, as far as we asked."""

    uid: int | None = None
    size: int | None = None
    internal_date: datetime | None = None
    has_body: bool = False
    body: bytes | None = None
    """None with ``has_body`` is NIL."""
    header: bytes | None = None
    """The fields of the header that were asked for."""


def fetch_items(wire: Wire, line: bytes, max_literal: int) -> Items | None:
    """Return what ``line`` and the lines that belong to it say, or None if it is no FETCH.

    Raises:
        ConnectorError: The response breaks the protocol or the limits, or does not end in time.
    """
    head = _FETCH.match(line)
    if head is None:
        return None
    items, rest = Items(), line[head.end() :]
    if usual := _USUAL.match(line):
        items.uid, items.size = int(usual["uid"]), int(usual["size"])
        items.internal_date = _date(usual["date"])
        items.has_body, items.body = True, _mail(wire, int(usual["octets"]), max_literal, items.uid)
        rest = wire.line()
        if rest == b")":
            return items
    tokens = _tokens(wire, rest, max_literal, items)
    for kind, key in tokens:
        if (kind, key) == ("paren", b")"):
            if next(tokens, None) is not None:
                break
            return items
        value = next(tokens, None)
        if kind != "atom" or value is None or value == ("paren", b")"):
            break
        if value == ("paren", b"("):
            _skip_list(tokens)
        elif not _set(items, key.upper(), *value):
            break
    raise wire.violation("a FETCH response is malformed")


def skip_literals(wire: Wire, line: bytes) -> None:
    """Read the lines and literals that belong to an untagged response nobody asked for."""
    total = 0
    while literal := _LITERAL.search(line):
        octets = int(literal[1])
        total += octets
        if total > _MAX_OTHER:
            raise wire.violation("an untagged response is too large")
        wire.literal(octets, _MAX_OTHER)
        line = wire.line()


def _set(items: Items, key: bytes, kind: str, value: bytes) -> bool:
    if key == _BODY:
        # A literal of negative or absurd length would pass for NIL, and a mail given again and
        # again within one response for progress.
        if items.has_body or (kind != "text" and value.upper() != b"NIL"):
            return False
        items.has_body = True
        items.body = value if kind == "text" else None
    elif key.startswith(_FIELDS) and kind == "text":
        items.header = value
    elif key == b"UID" and value.isdigit():
        items.uid = int(value[:10])
    elif key == b"RFC822.SIZE" and value.isdigit():
        items.size = int(value[:20])
    elif key == b"INTERNALDATE" and kind == "text":
        items.internal_date = _date(value)
    return True


def _date(value: bytes) -> datetime | None:
    # "17-Jul-1996 02:44:25 -0700" (RFC 9051 §9, date-time) is a Date but for two hyphens.
    return read_date(value.decode("latin-1").replace("-", " ", 2))


def _skip_list(tokens: Iterator[Token]) -> None:
    depth = 1
    for kind, value in tokens:
        if kind == "paren":
            depth += 1 if value == b"(" else -1
            if not depth:
                return


def _tokens(wire: Wire, line: bytes, max_literal: int, items: Items) -> Iterator[Token]:
    others = 0
    key = b""
    while True:
        others += len(line)
        literal = _LITERAL.search(line)
        text = line[: literal.start()] if literal else line
        for token in _TOKEN.finditer(text):
            kind = str(token.lastgroup)
            if kind == "illegal":
                raise wire.violation("a FETCH response holds an illegal character")
            if kind == "quoted":
                yield "text", _ESCAPED.sub(rb"\1", token["quoted"])
            else:
                key = token[0]
                yield kind, key
        if literal is None:
            return
        octets = int(literal[1])
        if key.upper() == _BODY:
            yield "text", _mail(wire, octets, max_literal, items.uid)
        else:
            others += octets
            if others > _MAX_OTHER:
                raise wire.violation("a FETCH response is too large")
            yield "text", wire.literal(octets, _MAX_OTHER)
        line = wire.line(MAX_LINE)


def _mail(wire: Wire, octets: int, max_literal: int, uid: int | None) -> bytes:
    if octets > max_literal:
        raise wire.failure(
            ErrorType.MESSAGE_TOO_LARGE,
            f"a mail of {octets} octets is announced, {max_literal} are allowed.",
            uid=uid,
            size=octets,
        )
    return wire.literal(octets, max_literal, patient=True)
