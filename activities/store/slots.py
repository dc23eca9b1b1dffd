"""Slots: the right to hold one connection, leased, so that a limit holds across workers.

A slot is (scope, number) with number < limit. It is taken by one compare-and-set: the row is new,
or its lease is over. Who finds none leaves word in a row of another scope, so that a worker with
idle connections gives one up. Leases compare the clocks of the workers, which must agree to a few
seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from random import SystemRandom

from sqlalchemy import delete, or_, tuple_, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import Session, col, select

from activities.store.scopes import WANTED
from models.tables import SendingSlot

_RANDOM = SystemRandom()

Slot = tuple[str, int]
"""Scope and number."""


def take_all(
    session: Session,
    limits: Sequence[tuple[str, int]],
    owner: str,
    lease: timedelta,
    *,
    want: timedelta,
) -> list[Slot] | None:
    """A slot in each of ``limits`` (scope, limit), or None and no slot at all.

    All workers name the scopes in the same order, so that none holds what another waits for. What
    could not be had is marked as wanted for the time ``want``.
    """
    taken: list[Slot] = []
    for scope, limit in limits:
        number = take(session, scope, limit, owner, lease)
        if number is None:
            release(session, owner, taken)
            _want(session, scope, owner, want)
            return None
        taken.append((scope, number))
    words = [WANTED + scope for scope, _ in limits]
    session.connection().execute(
        delete(SendingSlot).where(
            col(SendingSlot.scope).in_(words), col(SendingSlot.owner) == owner
        )
    )
    return taken


def take(session: Session, scope: str, limit: int, owner: str, lease: timedelta) -> int | None:
    """Number of a slot that was free, or None."""
    now = datetime.now(UTC)
    held = set(
        session.exec(
            select(SendingSlot.number).where(
                SendingSlot.scope == scope, col(SendingSlot.leased_until) >= now
            )
        )
    )
    if len(held) >= limit:  # also when a limit was lowered, and high numbers are still held
        return None
    # Upwards, as everybody: PostgreSQL locks the row of a failed compare-and-set too.
    for number in range(limit):
        if number in held:
            continue
        if _compare_and_set(session, scope, number, owner, now, now + lease):
            return number
    return None


def renew(session: Session, owner: str, lease: timedelta) -> set[Slot]:
    """Lease all slots of ``owner`` anew; returns them. What others have taken is not among them."""
    rows = session.connection().execute(
        update(SendingSlot)
        .where(col(SendingSlot.owner) == owner, ~col(SendingSlot.scope).startswith(WANTED))
        .values(leased_until=datetime.now(UTC) + lease)
        .returning(col(SendingSlot.scope), col(SendingSlot.number))
    )
    return {(row.scope, row.number) for row in rows}


def release(session: Session, owner: str, slots: Iterable[Slot]) -> None:
    """Free ``slots`` as far as ``owner`` still has them."""
    named = list(slots)
    if named:
        session.connection().execute(
            delete(SendingSlot).where(
                tuple_(col(SendingSlot.scope), col(SendingSlot.number)).in_(named),
                col(SendingSlot.owner) == owner,
            )
        )


def release_all(session: Session, owner: str) -> None:
    """Free all slots of ``owner``."""
    session.connection().execute(delete(SendingSlot).where(col(SendingSlot.owner) == owner))


def wanted(session: Session, scopes: Collection[str], owner: str) -> set[str]:
    """Those of ``scopes`` in which others than ``owner`` have lately found no slot."""
    rows = session.exec(
        select(SendingSlot.scope).where(
            col(SendingSlot.scope).in_([WANTED + scope for scope in scopes]),
            SendingSlot.owner != owner,
            col(SendingSlot.leased_until) >= datetime.now(UTC),
        )
    )
    return {scope.removeprefix(WANTED) for scope in rows}


def _want(session: Session, scope: str, owner: str, want: timedelta) -> None:
    """Leave word; renewed only when half of its time is over, for each word is a commit."""
    now = datetime.now(UTC)
    mine = session.exec(
        select(SendingSlot.leased_until).where(
            SendingSlot.scope == WANTED + scope, SendingSlot.owner == owner
        )
    ).first()
    if mine is not None and mine >= now + want / 2:
        return
    session.connection().execute(
        delete(SendingSlot).where(
            col(SendingSlot.scope) == WANTED + scope,
            or_(col(SendingSlot.owner) == owner, col(SendingSlot.leased_until) < now),
        )
    )
    number = _RANDOM.randrange(2**31)  # one that nobody else has
    _compare_and_set(session, WANTED + scope, number, owner, now, now + want)


def _compare_and_set(
    session: Session, scope: str, number: int, owner: str, now: datetime, until: datetime
) -> bool:
    connection = session.connection()
    insert = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    statement = (
        insert(SendingSlot)
        .values(scope=scope, number=number, owner=owner, leased_until=until)
        .on_conflict_do_update(
            index_elements=["scope", "number"],
            set_={"owner": owner, "leased_until": until},
            where=col(SendingSlot.leased_until) < now,
        )
        .returning(col(SendingSlot.number))
    )
    return connection.execute(statement).first() is not None
