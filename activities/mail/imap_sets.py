"""Sets of UIDs, as ranges: ``1:5,9`` on the wire (RFC 9051 §9, sequence-set), pairs in here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

MAX_UID: Final = 2**32 - 1
MAX_SET: Final = 7_500
"""Characters of one set; servers take command lines of 8,192 octets (RFC 7162 §4)."""
_RANGE: Final = re.compile(rb"(\d{1,10})(?::(\d{1,10}))?(?:,|$)")

Range = tuple[int, int]


def ranges_of(uids: Iterable[int]) -> list[Range]:
    """Return exactly ``uids``, sorted, with neighbours joined."""
    result: list[Range] = []
    first = last = -1
    for uid in sorted(uids):
        if uid > last + 1:
            if last >= 0:
                result.append((first, last))
            first = uid
        last = uid
    if last >= 0:
        result.append((first, last))
    return result


def merged(ranges: Iterable[Range]) -> list[Range]:
    """Return ``ranges`` sorted, without overlaps, empty ones and impossible UIDs."""
    result: list[Range] = []
    for first, last in sorted((max(a, 1), min(b, MAX_UID)) for a, b in ranges):
        if first > last:
            continue
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(last, result[-1][1]))
        else:
            result.append((first, last))
    return result


def rendered(ranges: Sequence[Range], limit: int = MAX_SET) -> Iterator[str]:
    """Return ``ranges`` as one or more sets, each short enough for a command line."""
    part = ""
    for first, last in ranges:
        text = str(first) if first == last else f"{first}:{last}"
        if part and len(part) + 1 + len(text) > limit:
            yield part
            part = ""
        part = f"{part},{text}" if part else text
    if part:
        yield part


def parsed(text: bytes) -> list[Range]:
    """Return the ranges of a set that a server sent; ``5:3`` is ``3:5`` (RFC 9051 §9).

    Raises:
        ValueError: It is no set of numbers.
    """
    ranges: list[Range] = []
    at = 0
    while at < len(text):
        match = _RANGE.match(text, at)
        if match is None:
            raise ValueError("not a set of UIDs")
        a, b = int(match[1]), int(match[2] or match[1])
        ranges.append((min(a, b), max(a, b)))
        at = match.end()
    return ranges


def common(left: Iterable[Range], right: Iterable[Range]) -> list[Range]:
    """Return what is in both."""
    ours, theirs = merged(left), merged(right)
    result: list[Range] = []
    i = j = 0
    while i < len(ours) and j < len(theirs):
        first = max(ours[i][0], theirs[j][0])
        last = min(ours[i][1], theirs[j][1])
        if first <= last:
            result.append((first, last))
        if ours[i][1] < theirs[j][1]:
            i += 1
        else:
            j += 1
    return result


def without(left: Iterable[Range], right: Iterable[Range]) -> list[Range]:
    """Return what is in ``left`` only."""
    holes: list[Range] = []
    following = 1
    for first, last in merged(right):
        holes.append((following, first - 1))
        following = last + 1
    return common(left, [*holes, (following, MAX_UID)])


def size(ranges: Iterable[Range]) -> int:
    """Return the number of UIDs in ranges that do not overlap."""
    return sum(last - first + 1 for first, last in ranges)


def expanded(ranges: Iterable[Range]) -> Iterator[int]:
    """Return each UID. Ask ``size`` first: a server can name four billion in a dozen octets."""
    for first, last in ranges:
        yield from range(first, last + 1)


def ascending_runs(uids: Iterable[int], longest: int) -> Iterator[list[int]]:
    """Cut ``uids`` where they do not ascend, and after ``longest``."""
    run: list[int] = []
    for uid in uids:
        if run and (uid <= run[-1] or len(run) >= longest):
            yield run
            run = []
        run.append(uid)
    if run:
        yield run
