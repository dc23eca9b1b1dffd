"""Sets of UIDs as ranges behave like the sets they stand for."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from models import uid_set
from models.uid_set import Range

UIDS = st.sets(st.integers(min_value=1, max_value=60), max_size=40)
"""Few numbers close together, so that neighbours, gaps and overlaps all occur."""


def ranges(uids: set[int]) -> list[Range]:
    return uid_set.from_uids(uids)


def members(found: list[Range]) -> list[int]:
    return list(uid_set.expand(found))


@given(UIDS)
def test_ranges_hold_exactly_the_uids(uids: set[int]) -> None:
    found = ranges(uids)
    assert members(found) == sorted(uids)
    assert uid_set.count(found) == len(uids)
    # As few as possible: no two of them touch.
    assert all(a[1] + 1 < b[0] for a, b in pairwise(found))
    assert uid_set.as_ranges([list(r) for r in found]) == found


@given(UIDS)
def test_descending_is_the_opposite_order(uids: set[int]) -> None:
    assert members(uid_set.descending(ranges(uids))) == sorted(uids, reverse=True)
    assert uid_set.count(uid_set.descending(ranges(uids))) == len(uids)


@given(UIDS, UIDS)
def test_subtract(uids: set[int], gone: set[int]) -> None:
    rest = uid_set.subtract(ranges(uids), ranges(gone))
    assert members(rest) == sorted(uids - gone)
    assert all(first <= last for first, last in rest)


@given(UIDS, st.integers(min_value=0, max_value=70))
def test_head_and_tail(uids: set[int], number: int) -> None:
    ordered = sorted(uids)
    assert members(uid_set.head(ranges(uids), number)) == ordered[:number]
    assert members(uid_set.tail(ranges(uids), number)) == ordered[max(0, len(ordered) - number) :]


@given(UIDS, st.booleans(), st.integers(0, 50), st.integers(0, 50))
def test_section(uids: set[int], down: bool, start: int, length: int) -> None:
    order = sorted(uids, reverse=down)
    kept = uid_set.descending(ranges(uids)) if down else ranges(uids)
    assert uid_set.section(kept, start, start + length) == order[start : start + length]


@given(UIDS, st.booleans(), st.integers(1, 10))
def test_sections_are_a_partition(uids: set[int], down: bool, size: int) -> None:
    kept = uid_set.descending(ranges(uids)) if down else ranges(uids)
    batches = -(-uid_set.count(kept) // size)
    together = [
        uid for n in range(batches) for uid in uid_set.section(kept, n * size, (n + 1) * size)
    ]
    assert together == sorted(uids, reverse=down)


def test_a_hundred_thousand_mails_are_two_numbers() -> None:
    everything = [(1, 100_000)]
    latest = uid_set.tail(everything, 50)
    assert latest == [(99_951, 100_000)]
    assert uid_set.subtract(everything, latest) == [(1, 99_950)]
    assert uid_set.subtract([(1, 0xFFFFFFFF)], [(5, 5)]) == [(1, 4), (6, 0xFFFFFFFF)]
