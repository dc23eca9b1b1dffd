"""Byte ranges of a request (RFC 9110 §14.1.2, §14.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEADER = re.compile(r"bytes=(.*)", re.IGNORECASE | re.ASCII)
_RANGE = re.compile(r"([0-9]{0,18})-([0-9]{0,18})", re.ASCII)
_MAX_RANGES = 16


class UnsatisfiableRangeError(Exception):
    """No range of the request lies within the content."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from ``start`` up to, not including, ``stop``."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def requested_span(header: str | None, size: int) -> Span | None:
    """Return the one span that a Range header asks for; None when the whole is to be sent.

    What is malformed is ignored, as the RFC asks. So are several ranges that do not touch: a
    server may always send the whole, and mail has no reader that needs more.

    Raises:
        UnsatisfiableRangeError: Every range begins after the end.
    """
    ranges = _parsed(header)
    if not ranges:
        return None
    spans = [span for each in ranges if (span := _within(each, size))]
    if not spans:
        raise UnsatisfiableRangeError
    return _joined(spans)


def _parsed(header: str | None) -> list[tuple[int | None, int | None]]:
    found = _HEADER.fullmatch(header.strip()) if header else None
    if found is None:
        return []
    ranges: list[tuple[int | None, int | None]] = []
    for text in found[1].split(",")[: _MAX_RANGES + 1]:
        if not text.strip():
            continue  # a list may have empty elements (RFC 9110 §5.6.1)
        match = _RANGE.fullmatch(text.strip())
        if match is None:
            return []
        first, last = (int(digits) if digits else None for digits in match.groups())
        if first is None and last is None:
            return []
        if first is not None and last is not None and last < first:
            return []
        ranges.append((first, last))
    return ranges if len(ranges) <= _MAX_RANGES else []


def _within(wanted: tuple[int | None, int | None], size: int) -> Span | None:
    first, last = wanted
    if first is None:
        suffix = min(last or 0, size)
        return Span(size - suffix, size) if suffix else None
    if first >= size:
        return None
    return Span(first, size if last is None else min(last + 1, size))


def _joined(spans: list[Span]) -> Span | None:
    """One span that covers exactly the bytes of all, if there is one."""
    spans = sorted(spans, key=lambda span: span.start)
    start, stop = spans[0].start, spans[0].stop
    for span in spans[1:]:
        if span.start > stop:
            return None
        stop = max(stop, span.stop)
    return Span(start, stop)
