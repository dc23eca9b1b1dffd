"""Sets of UIDs, against Python's own sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.mail.imap_sets import (
    MAX_UID,
    ascending_runs,
    common,
    expanded,
    merged,
    parsed,
    ranges_of,
    rendered,
    size,
    without,
)

UIDS = st.sets(st.integers(1, 60), max_size=40)
RANGES = st.lists(st.tuples(st.integers(-5, 60), st.integers(-5, 60)), max_size=12)


def members(ranges: list[tuple[int, int]]) -> set[int]:
    return {uid for first, last in ranges for uid in range(max(first, 1), last + 1)}


@given(UIDS)
def test_what_is_rendered_reads_the_same(uids: set[int]) -> None:
    ranges = ranges_of(uids)
    assert list(expanded(ranges)) == sorted(uids)
    assert size(ranges) == len(uids)
    parts = list(rendered(ranges, limit=12))
    assert all(len(part) <= 12 for part in parts)
    assert set(expanded(r for part in parts for r in parsed(part.encode()))) == uids


@given(RANGES, RANGES)
def test_set_operations(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    assert list(expanded(merged(left))) == sorted(members(left))
    assert list(expanded(common(left, right))) == sorted(members(left) & members(right))
    assert list(expanded(without(left, right))) == sorted(members(left) - members(right))


@given(st.lists(st.integers(1, 60), max_size=60), st.integers(1, 9))
def test_runs_ascend_and_are_all_there(uids: list[int], longest: int) -> None:
    runs = list(ascending_runs(uids, longest))
    assert [uid for run in runs for uid in run] == uids
    assert all(run == sorted(set(run)) and len(run) <= longest for run in runs)


def test_the_largest_uids() -> None:
    assert merged([(1, 2**40)]) == [(1, MAX_UID)]
    assert merged([(2**32, 2**40)]) == []
    assert parsed(b"7:5,1") == [(5, 7), (1, 1)]
    assert without([(1, MAX_UID)], [(5, MAX_UID)]) == [(1, 4)]


@pytest.mark.parametrize("text", [b"x", b"1:", b"1:*", b"-1", b"1;2", b"99999999999"])
def test_what_is_no_set(text: bytes) -> None:
    with pytest.raises(ValueError, match="not a set"):
        parsed(text)
