"""Rows that are there already, or that another transaction is about to commit, are left alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session, select

from activities.store.engine import Database
from activities.store.insertion import insert_missing
from models.tables import SlowDown
from tests.unit.store_kit import database

__all__ = ["database"]


def row(scope: str, strikes: int = 0) -> dict[str, Any]:
    return {"scope": scope, "until": datetime.now(UTC), "strikes": strikes}


def test_it_counts_the_new_ones(database: Database):
    with database.write() as session:
        assert insert_missing(session, SlowDown, []) == 0
        assert insert_missing(session, SlowDown, [row("a")]) == 1
    with database.write() as session:
        assert insert_missing(session, SlowDown, [row("a", 7)]) == 0
        assert insert_missing(session, SlowDown, [row("a", 7), row("b"), row("c")]) == 2
        assert strikes(session, "a") == 0


def test_the_slower_of_two_hears_that_its_row_is_not_new(database: Database):
    inserted, asked = threading.Event(), threading.Event()

    def second() -> int:
        inserted.wait()
        asked.set()
        with database.write() as session:
            return insert_missing(session, SlowDown, [row("race", 7)])

    with ThreadPoolExecutor(1) as other:
        slower = other.submit(second)
        with database.write() as session:
            first = insert_missing(session, SlowDown, [row("race")])
            inserted.set()
            asked.wait()
        assert (first, slower.result()) == (1, 0)
    with database.read() as session:
        assert strikes(session, "race") == 0


def strikes(session: Session, scope: str) -> int:
    return session.exec(select(SlowDown.strikes).where(SlowDown.scope == scope)).one()
