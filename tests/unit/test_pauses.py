"""Pauses that servers ask for: they grow while the server keeps asking, a success ends them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from sqlmodel import col

from activities.store import pauses
from activities.store.engine import Database
from activities.store.pauses import Growth, Pause
from models.tables import SlowDown
from tests.unit.store_kit import database

__all__ = ["database"]

GROWTH = Growth(first=30, longest=1800)


@pytest.fixture
def scope() -> str:
    return f"host/{uuid.uuid4()}"


def strike(database: Database, scope: str, *, hint: float = 0, stretch: float = 1) -> Pause:
    with database.write() as session:
        return pauses.strike(
            session, scope, GROWTH, hint=hint, stretch=stretch, code=421, enhanced_code="4.7.0"
        )


def read(database: Database, scope: str) -> Pause | None:
    with database.read() as session:
        return pauses.pauses_of(session, [scope]).get(scope)


def forget(database: Database, scope: str) -> None:
    with database.write() as session:
        pauses.forget(session, [scope])


def shift(database: Database, scope: str, seconds: float) -> None:
    """Let the pause have ended so many seconds ago."""
    with database.write() as session:
        session.connection().execute(
            update(SlowDown)
            .where(col(SlowDown.scope) == scope)
            .values(until=datetime.now(UTC) - timedelta(seconds=seconds))
        )


def test_pauses_double_up_to_half_an_hour(database: Database, scope: str) -> None:
    lengths = []
    for _ in range(9):
        pause = strike(database, scope)
        lengths.append(round(pause.remaining.total_seconds()))
        assert read(database, scope) == pause
        shift(database, scope, 1)
    assert lengths == [30, 60, 120, 240, 480, 960, 1800, 1800, 1800]


def test_who_hears_it_at_the_same_time_makes_one_strike(database: Database, scope: str) -> None:
    first = strike(database, scope)
    assert [strike(database, scope) for _ in range(10)] == [first] * 10


def test_the_servers_hint_is_obeyed(database: Database, scope: str) -> None:
    assert round(strike(database, scope, hint=300).remaining.total_seconds()) == 300
    assert round(strike(database, scope, hint=600).remaining.total_seconds()) == 600
    assert round(strike(database, scope, hint=10).remaining.total_seconds()) == 600


def test_a_pause_is_stretched_at_random(database: Database, scope: str) -> None:
    assert round(strike(database, scope, stretch=1.2).remaining.total_seconds()) == 36


def test_a_success_after_the_pause_clears_it(database: Database, scope: str) -> None:
    strike(database, scope)
    forget(database, scope)  # from a connection that had not been refused
    assert read(database, scope) is not None
    shift(database, scope, 1)
    assert not read(database, scope).remaining  # type: ignore[union-attr]
    forget(database, scope)
    assert read(database, scope) is None
    assert strike(database, scope).strikes == 1


def test_what_is_long_over_is_forgotten(database: Database, scope: str) -> None:
    assert [strike(database, scope).strikes, strike(database, scope).strikes] == [1, 1]
    shift(database, scope, 3500)
    assert strike(database, scope).strikes == 2
    shift(database, scope, 3700)
    assert strike(database, scope).strikes == 1


def test_no_number_of_strikes_is_too_many() -> None:
    assert GROWTH.seconds(10_000, 0, 1) == 1800
