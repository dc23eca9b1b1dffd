"""UID SEARCH (RFC 9051 §6.4.4), compact where the server can (ESEARCH, RFC 4731)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from activities.mail.imap_guard import GuardedIMAP4
from activities.mail.imap_sets import Range, common, expanded, merged, parsed, ranges_of, rendered
from activities.mail.imap_sets import size as count
from activities.mail.imap_text import Literal, astring
from models.errors import ConnectorError, ErrorType

MAX_UIDS: Final = 2_000_000
"""UIDs of one answer; ask for fewer ranges of a folder that has more."""
_ALL: Final = re.compile(rb"(?:^|\s)ALL ([\d:,]+)(?:\s|$)", re.IGNORECASE)
_NUMBER: Final = re.compile(rb"\d{1,10}")


def uids_within(engine: GuardedIMAP4, esearch: bool, ranges: Sequence[Range]) -> list[int]:
    """Return the UIDs that exist within ``ranges``, ascending.

    A server may answer more than was asked: to ``7:*`` with the last message, though it is
    number 5 (RFC 9051 §6.4.9). Only what is within ``ranges`` is returned.
    """
    wanted = merged(ranges)
    found: list[Range] = []
    for part in rendered(wanted):
        found += search(engine, esearch, "UID", part)
    found = common(found, wanted)
    if count(found) > MAX_UIDS:
        raise engine.wire.violation(f"more than {MAX_UIDS} messages are said to be there")
    return list(expanded(found))


def search(engine: GuardedIMAP4, esearch: bool, *criteria: str) -> list[Range]:
    """Return what ``criteria`` find, as ranges."""
    with engine.long_answers():
        if esearch:
            engine.ask("UID", "SEARCH", "RETURN", "(ALL)", *criteria)
            sets = (_ALL.search(answer) for answer in engine.answers("ESEARCH"))
            return [r for found in sets if found for r in parsed(found[1])]
        engine.ask("UID", "SEARCH", *criteria)
        return _numbers(engine)


def uids_by(engine: GuardedIMAP4, criterion: Sequence[str | Literal]) -> list[int]:
    """Return the UIDs that a criterion with text finds, ascending."""
    with engine.long_answers():
        engine.run("UID SEARCH", *criterion)
        return list(expanded(_numbers(engine)))


def message_id_criterion(message_id: str) -> list[str | Literal]:
    """Return the search key for a Message-ID.

    HEADER finds parts of a value, so the id is searched with its angle brackets.

    Raises:
        ConnectorError: It is empty or cannot be in a header.
    """
    inner = bare(message_id)
    if not inner:
        raise ConnectorError(
            ErrorType.INVALID_INPUT, "The Message-ID is empty.", field="message_id"
        )
    key = astring(f"<{inner}>", "message_id")
    charset = [] if inner.isascii() else ["CHARSET UTF-8"]
    return [*charset, "HEADER Message-ID", key]


def bare(message_id: str) -> str:
    """Return a Message-ID without its angle brackets."""
    return message_id.strip().removeprefix("<").removesuffix(">")


def _numbers(engine: GuardedIMAP4) -> list[Range]:
    uids: list[int] = []
    for answer in engine.answers("SEARCH"):
        # With CONDSTORE, "(MODSEQ 917162500)" may follow (RFC 7162 §3.1.5).
        numbers = answer.partition(b"(")[0]
        if len(uids) + numbers.count(b" ") >= MAX_UIDS:
            raise engine.wire.violation(f"more than {MAX_UIDS} messages are said to be there")
        uids.extend(int(number[0]) for number in _NUMBER.finditer(numbers))
    return ranges_of(uids)
