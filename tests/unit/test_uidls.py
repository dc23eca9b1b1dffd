"""Numbers in place of UIDLs: they stay, ascend, and are never given twice."""

from __future__ import annotations

import itertools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import select

from activities.store.engine import Database
from activities.store.uidls import UidlNumbering
from models.tables import Uidl
from tests.unit.store_kit import account_id, database

__all__ = ["account_id", "database"]

VALIDITIES = itertools.count(2**62)


@pytest.fixture
def validity() -> int:
    """A maildrop nobody else has."""
    return next(VALIDITIES)


def test_numbers_ascend_in_the_order_of_the_server(
    database: Database, account_id: str, validity: int
) -> None:
    numbering = UidlNumbering(database)
    assert numbering.number(account_id, validity, ["c", "a", "b"]).uids == [1, 2, 3]
    found = numbering.number(account_id, validity, ["new", "b", "c", "B"])
    assert (found.uids, found.uid_next) == ([4, 3, 1, 5], 6)
    assert numbering.number(account_id, validity + 1_000_000, ["c"]).uids == [1]


def test_an_empty_listing_forgets_all_but_the_next_number(
    database: Database, account_id: str, validity: int
) -> None:
    numbering = UidlNumbering(database)
    numbering.number(account_id, validity, ["a", "b"])
    assert numbering.number(account_id, validity, []).uid_next == 3
    assert numbering.number(account_id, validity, ["a"]).uids == [3]


def test_more_rows_than_a_statement_takes(
    database: Database, account_id: str, validity: int
) -> None:
    numbering = UidlNumbering(database)
    names = [f"uidl-{number}" for number in range(3000)]
    assert numbering.number(account_id, validity, names).uids == list(range(1, 3001))
    assert numbering.number(account_id, validity, names[2500:]).uids == list(range(2501, 3001))
    with database.read() as session:
        rows = session.exec(select(Uidl).where(Uidl.uid_validity == validity)).all()
    assert len(rows) == 500


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(listings=st.lists(st.lists(st.sampled_from("abcAB"), max_size=6), max_size=8))
def test_any_sequence_of_listings(
    database: Database, account_id: str, listings: list[list[str]]
) -> None:
    numbering, validity = UidlNumbering(database), next(VALIDITIES)
    given_to: dict[int, str] = {}
    before: dict[str, list[int]] = {}
    highest = 0
    for listing in listings:
        found = numbering.number(account_id, validity, listing)
        assert len(found.uids) == len(set(found.uids)) == len(listing)
        assert found.uid_next > max(found.uids, default=highest)
        now: dict[str, list[int]] = {}
        for uidl, uid in zip(listing, found.uids, strict=True):
            assert given_to.setdefault(uid, uidl) == uidl
            now.setdefault(uidl, []).append(uid)
        for uidl, count in Counter(listing).items():
            if 0 < len(before.get(uidl, [])) <= count:
                assert now[uidl][: len(before[uidl])] == before[uidl]
            else:
                assert min(now[uidl]) > highest
        before, highest = now, found.uid_next - 1


def test_sessions_at_once_agree(database: Database, account_id: str, validity: int) -> None:
    names = [f"uidl-{number}" for number in range(200)]

    def number(_: int) -> list[int]:
        return UidlNumbering(database).number(account_id, validity, names).uids

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(number, range(16)))
    assert results == [list(range(1, 201))] * 16
