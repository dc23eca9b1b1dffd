"""Slots: a limit that holds across workers, whoever dies."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta

from sqlmodel import select

from activities.store import slots
from activities.store.accounts import Accounts
from activities.store.engine import Database
from activities.store.pauses import Growth, strike
from activities.store.scopes import account_scope, host_scope
from models.tables import SendingSlot, SlowDown
from tests.unit.store_kit import account_id, database

__all__ = ["account_id", "database"]

LEASE, OVER = timedelta(seconds=60), timedelta(seconds=-1)


def fresh() -> str:
    return f"account/{uuid.uuid4()}"


def take(
    database: Database, scope: str, limit: int, owner: str = "one", lease: timedelta = LEASE
) -> int | None:
    with database.write() as session:
        return slots.take(session, scope, limit, owner, lease)


def held(database: Database, scope: str) -> dict[int, str]:
    with database.read() as session:
        rows = session.exec(select(SendingSlot).where(SendingSlot.scope == scope))
        return {row.number: row.owner for row in rows}


def test_no_more_than_the_limit(database: Database) -> None:
    scope = fresh()
    taken = [take(database, scope, 3, owner) for owner in ("one", "two", "one", "two")]
    assert sorted(n for n in taken[:3] if n is not None) == [0, 1, 2]
    assert taken[3] is None
    assert take(database, fresh(), 1) == 0  # another scope is another limit


def test_a_slot_that_was_released_is_free(database: Database) -> None:
    scope = fresh()
    assert take(database, scope, 1) == 0
    with database.write() as session:
        slots.release(session, "two", [(scope, 0)])  # not its own
    assert take(database, scope, 1, "two") is None
    with database.write() as session:
        slots.release(session, "one", [(scope, 0)])
    assert take(database, scope, 1, "two") == 0


def test_the_slots_of_the_dead_come_back_and_cannot_be_renewed(database: Database) -> None:
    scope, dead, heir = fresh(), str(uuid.uuid4()), str(uuid.uuid4())
    assert take(database, scope, 1, dead, OVER) == 0
    assert take(database, scope, 1, heir) == 0
    with database.write() as session:
        assert (scope, 0) not in slots.renew(session, dead, LEASE)
        assert slots.renew(session, heir, LEASE) == {(scope, 0)}
    with database.write() as session:
        slots.release(session, dead, [(scope, 0)])
    assert held(database, scope) == {0: heir}


def test_renewing_keeps_a_slot_from_others(database: Database) -> None:
    scope, owner = fresh(), str(uuid.uuid4())
    assert take(database, scope, 1, owner, OVER) == 0
    with database.write() as session:
        assert slots.renew(session, owner, LEASE) == {(scope, 0)}
    assert take(database, scope, 1, "two") is None


def test_a_lowered_limit_counts_the_high_numbers_too(database: Database) -> None:
    scope = fresh()
    for _ in range(3):
        take(database, scope, 3)
    with database.write() as session:
        slots.release(session, "one", [(scope, 0)])
    assert take(database, scope, 2) is None
    with database.write() as session:
        slots.release(session, "one", [(scope, 1), (scope, 2)])
    assert take(database, scope, 2) is not None


def test_account_and_host_are_taken_together_or_not_at_all(database: Database) -> None:
    account, host = fresh(), host_scope(f"{uuid.uuid4()}.Example.")
    with database.write() as session:
        assert slots.take_all(session, [(account, 2), (host, 1)], "one", LEASE, want=LEASE)
        assert slots.take_all(session, [(account, 2), (host, 1)], "one", LEASE, want=LEASE) is None
    assert (len(held(database, account)), len(held(database, host))) == (1, 1)
    assert host == host.lower()
    assert not host.endswith(".")


def wants(database: Database, scope: str, owner: str, want: timedelta) -> None:
    with database.write() as session:
        assert slots.take_all(session, [(scope, 0)], owner, LEASE, want=want) is None


def wanted(database: Database, scope: str, owner: str) -> set[str]:
    with database.read() as session:
        return slots.wanted(session, [scope, "account/other"], owner)


def test_who_finds_none_leaves_word_for_a_while(database: Database) -> None:
    scope = fresh()
    wants(database, scope, "one", LEASE)
    wants(database, scope, "one", LEASE)
    assert wanted(database, scope, "two") == {scope}
    assert wanted(database, scope, "one") == set()  # its own word
    assert len(held(database, f"wanted/{scope}")) == 1
    with database.write() as session:
        assert not slots.renew(session, "one", LEASE) & {(f"wanted/{scope}", 0)}
        slots.release_all(session, "one")
    assert wanted(database, scope, "two") == set()


def test_who_has_found_one_takes_his_word_back(database: Database) -> None:
    scope = fresh()
    wants(database, scope, "one", LEASE)
    with database.write() as session:
        assert slots.take_all(session, [(scope, 1)], "one", LEASE, want=LEASE)
    assert wanted(database, scope, "two") == set()


def test_words_that_are_over_count_no_more_and_go(database: Database) -> None:
    scope, dead = fresh(), str(uuid.uuid4())
    wants(database, scope, dead, OVER)
    with database.write() as session:
        assert slots.renew(session, dead, LEASE) == set()
    assert wanted(database, scope, "two") == set()
    wants(database, scope, "three", LEASE)
    assert list(held(database, f"wanted/{scope}").values()) == ["three"]


def test_a_worker_that_ends_frees_all_it_has(database: Database) -> None:
    scope, owner = fresh(), str(uuid.uuid4())
    take(database, scope, 3, owner)
    take(database, scope, 3, owner)
    take(database, scope, 3, "other")
    with database.write() as session:
        slots.release_all(session, owner)
    assert list(held(database, scope).values()) == ["other"]


def test_many_at_once_do_not_share_a_slot(database: Database) -> None:
    scope, found = fresh(), []
    barrier = threading.Barrier(8)

    def worker(name: str) -> None:
        barrier.wait()
        found.extend([take(database, scope, 5, name) for _ in range(3)])

    threads = [threading.Thread(target=worker, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(n for n in found if n is not None) == [0, 1, 2, 3, 4]
    assert found.count(None) == 8 * 3 - 5


def test_an_account_takes_its_slots_and_pauses_with_it(database: Database, account_id: str) -> None:
    scope = account_scope(account_id)
    take(database, scope, 1)
    with database.write() as session:
        strike(session, scope, Growth(30, 1800), hint=0, stretch=1, code=421, enhanced_code="4.7.0")
    with database.write() as session:
        Accounts(box=None).delete(session, account_id)  # type: ignore[arg-type]  # opens nothing
    assert held(database, scope) == {}
    with database.read() as session:
        assert not session.exec(select(SlowDown).where(SlowDown.scope == scope)).all()
