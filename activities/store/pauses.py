"""Pauses that servers ask for: they grow while the server keeps asking, a success ends them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete
from sqlmodel import Session, col, select

from activities.store.insertion import insert_missing
from models.tables import SlowDown


@dataclass(frozen=True, slots=True)
class Pause:
    """What a server asked for within a scope. One that is over is kept: the next is longer."""

    until: datetime
    strikes: int
    code: int | None = None
    enhanced_code: str | None = None

    @property
    def remaining(self) -> timedelta:
        """How long it still lasts."""
        return max(self.until - datetime.now(UTC), timedelta(0))


@dataclass(frozen=True, slots=True)
class Growth:
    """How long the pauses are, in seconds."""

    first: float
    longest: float

    def seconds(self, strikes: int, hint: float, stretch: float) -> float:
        """Length of the pause after so many ``strikes``.

        Args:
            strikes: How often in a row the server has asked.
            hint: What the server said itself; no pause is shorter.
            stretch: Factor at random, so that not everybody is back at the same moment.
        """
        grown = min(self.first * 2.0 ** min(strikes - 1, 30), self.longest)
        return max(grown * stretch, hint)


def pauses_of(session: Session, scopes: Collection[str]) -> dict[str, Pause]:
    """What was asked for within ``scopes``."""
    rows = session.exec(select(SlowDown).where(col(SlowDown.scope).in_(scopes)))
    return {row.scope: _pause(row) for row in rows}


def strike(
    session: Session,
    scope: str,
    growth: Growth,
    *,
    hint: float,
    stretch: float,
    code: int,
    enhanced_code: str | None,
) -> Pause:
    """The server has asked. Connections that hear it at the same time make one strike."""
    now = datetime.now(UTC)
    insert_missing(session, SlowDown, [{"scope": scope, "until": now, "strikes": 0}])
    row = session.exec(select(SlowDown).where(SlowDown.scope == scope).with_for_update()).one()
    if row.strikes and row.until > now:
        row.until = max(row.until, now + timedelta(seconds=hint))
    else:
        forgotten = now - row.until > timedelta(seconds=2 * growth.longest)
        row.strikes = 1 if forgotten else row.strikes + 1
        row.until = now + timedelta(seconds=growth.seconds(row.strikes, hint, stretch))
    row.code, row.enhanced_code = code, enhanced_code
    session.add(row)
    session.flush()
    return _pause(row)


def forget(session: Session, scopes: Collection[str]) -> None:
    """A mail was accepted. What began before a pause and ends within it proves nothing."""
    session.connection().execute(
        delete(SlowDown).where(
            col(SlowDown.scope).in_(scopes), col(SlowDown.until) <= datetime.now(UTC)
        )
    )


def _pause(row: SlowDown) -> Pause:
    return Pause(row.until, row.strikes, row.code, row.enhanced_code)
