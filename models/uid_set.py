"""Sets of UIDs as ranges, so that "the latest 50 of 100,000" is two numbers, not 99,950.

A range is ``(first, last)``, both inclusive; a range with ``first > last`` is read downwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

Range = tuple[int, int]


def from_uids(uids: Iterable[int]) -> list[Range]:
    """Return ascending ranges that hold exactly ``uids``."""
    ranges: list[Range] = []
    for uid in sorted(set(uids)):
        if ranges and ranges[-1][1] == uid - 1:
            ranges[-1] = (ranges[-1][0], uid)
        else:
            ranges.append((uid, uid))
    return ranges


def as_ranges(stored: Iterable[Sequence[int]]) -> list[Range]:
    """Return ranges as read from JSON."""
    return [(first, last) for first, last in stored]


def count(ranges: Iterable[Range]) -> int:
    """Return how many UIDs the ranges hold."""
    return sum(abs(last - first) + 1 for first, last in ranges)


def expand(ranges: Iterable[Range]) -> Iterator[int]:
    """Yield every UID in the order of the ranges."""
    for first, last in ranges:
        step = 1 if first <= last else -1
        yield from range(first, last + step, step)


def section(ranges: Iterable[Range], start: int, stop: int) -> list[int]:
    """Return the UIDs at positions ``start`` (inclusive) to ``stop`` (exclusive)."""
    picked: list[int] = []
    position = 0
    for first, last in ranges:
        size = abs(last - first) + 1
        low, high = max(start - position, 0), min(stop - position, size)
        if low < high:
            step = 1 if first <= last else -1
            picked.extend(range(first + low * step, first + high * step, step))
        position += size
        if position >= stop:
            break
    return picked


def subtract(ranges: Iterable[Range], gone: Iterable[Range]) -> list[Range]:
    """Return ascending ``ranges`` without the UIDs in ascending ``gone``."""
    rest: list[Range] = []
    holes = list(gone)
    index = 0
    for first, last in ranges:
        while index < len(holes) and holes[index][1] < first:
            index += 1
        start, at = first, index
        while at < len(holes) and holes[at][0] <= last:
            if holes[at][0] > start:
                rest.append((start, holes[at][0] - 1))
            start = max(start, holes[at][1] + 1)
            at += 1
        if start <= last:
            rest.append((start, last))
    return rest


def descending(ranges: Sequence[Range]) -> list[Range]:
    """Return ascending ``ranges`` in the opposite delivery order."""
    return [(last, first) for first, last in reversed(ranges)]


def tail(ranges: Sequence[Range], number: int) -> list[Range]:
    """Return the highest ``number`` UIDs of ascending ``ranges``, ascending."""
    kept: list[Range] = []
    for first, last in reversed(ranges):
        if number <= 0:
            break
        kept.append((max(first, last - number + 1), last))
        number -= last - first + 1
    return kept[::-1]


def head(ranges: Sequence[Range], number: int) -> list[Range]:
    """Return the lowest ``number`` UIDs of ascending ``ranges``, ascending."""
    kept: list[Range] = []
    for first, last in ranges:
        if number <= 0:
            break
        kept.append((first, min(last, first + number - 1)))
        number -= last - first + 1
    return kept
