"""Range headers as RFC 9110 reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starter.endpoints.ranges import Span, UnsatisfiableRangeError, requested_span


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=0-499", Span(0, 500)),
        ("bytes=500-999", Span(500, 1000)),
        ("bytes=500-5000", Span(500, 1000)),
        ("bytes=9-", Span(9, 1000)),
        ("bytes=-500", Span(500, 1000)),
        ("bytes=-5000", Span(0, 1000)),
        ("BYTES=1-2", Span(1, 3)),
        ("bytes= 1-2 , ", Span(1, 3)),
        ("bytes=0-4,5-9", Span(0, 10)),
        ("bytes=5-9,0-6", Span(0, 10)),
        ("bytes=0-4,2000-", Span(0, 5)),
        ("bytes=0-0,5-9", None),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(17)), None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=5-4", None),
        ("bytes=a-b", None),
        ("bytes=1-2,x", None),
        ("bytes=0x1-2", None),
        ("bytes=+1-2", None),
        ("bytes=٣-٤", None),
        ("bytes=" + "9" * 5000 + "-", None),
        ("lines=0-4", None),
        ("0-4", None),
        ("", None),
        (None, None),
    ],
)
def test_what_a_header_asks_for(header: str | None, expected: Span | None) -> None:
    assert requested_span(header, 1000) == expected


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=7777-,-0"])
def test_beyond_the_end(header: str) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        requested_span(header, 1000)


@given(st.text(max_size=60), st.integers(0, 100))
def test_nothing_else_is_raised_and_no_span_is_outside(text: str, size: int) -> None:
    for header in (text, f"bytes={text}"):
        try:
            span = requested_span(header, size)
        except UnsatisfiableRangeError:
            continue
        assert span is None or 0 <= span.start < span.stop <= size
