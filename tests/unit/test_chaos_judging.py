"""A second copy is excused by a doubt that stood in the ledger before it, and by nothing else."""

from __future__ import annotations

import pytest

from tests.chaos.judging import allowed


@pytest.mark.parametrize(
    ("copies", "doubts", "explained"),
    [
        ([], [5], 0),
        ([1], [0], 0),
        ([1, 9], [], 0),
        ([1, 9], [5], 1),
        ([1, 9], [10], 0),
        ([9, 1], [5, 6], 1),
        ([1, 9, 11], [5], 1),
        ([1, 9, 11], [10, 5], 2),
        ([1, 2, 11], [5, 6], 1),
    ],
)
def test_each_doubt_explains_one_later_copy(
    copies: list[float], doubts: list[float], explained: int
):
    assert allowed(copies, doubts) == explained
