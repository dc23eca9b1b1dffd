"""A server that is away for 24 hours, in skipped time: mails that are queued.

The queue's clock is the database's due times. Time is skipped by moving all times that the database
knows into the past, which is the same as waiting.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from sqlalchemy import DateTime, TypeDecorator, and_, select, update
from sqlmodel import SQLModel
from sqlmodel import select as query

from activities.store.engine import Database
from activities.store.scopes import back_off_scope
from models.tables import Delivery, SlowDown
from tests.mail.drain_kit import Drain, draining
from tests.smtp_server import Fault, SmtpServer
from tests.unit.store_kit import database

__all__ = ["database"]

OUTAGE = timedelta(hours=24)
LONGEST_GAP = timedelta(seconds=4000)
EVERY = timedelta(minutes=5)
"""The queue's schedule."""
MAILS = 5
STAGES = ("mail", "rcpt", "data", "reply", "banner")


def skip(database: Database, time: timedelta) -> None:
    """Let ``time`` pass for all that is in the store."""
    with database.write() as session:
        for table in SQLModel.metadata.sorted_tables:
            keys = list(table.primary_key.columns)
            for column in table.columns:
                kind = column.type.impl if isinstance(column.type, TypeDecorator) else column.type
                if not isinstance(kind, DateTime):
                    continue
                connection = session.connection()
                for *key, value in connection.execute(
                    select(*keys, column).where(column.is_not(None))
                ).all():
                    row = and_(*(one == part for one, part in zip(keys, key, strict=True)))
                    connection.execute(update(table).where(row).values({column: value - time}))


def due_at(worker: Drain, account_id: str) -> datetime:
    """When the next mail may be tried."""
    with worker.database.read() as session:
        mails = session.exec(
            query(Delivery.next_attempt_at).where(
                Delivery.account_id == account_id, Delivery.state == "queued"
            )
        )
        first = min(when for when in mails if when is not None)
        scope = back_off_scope(account_id)
        pause = session.exec(query(SlowDown.until).where(SlowDown.scope == scope)).first()
    return max(first, pause) if pause else first


async def test_24_hours_away_lose_no_mail_that_is_queued(
    database: Database, tmp_path: Path
) -> None:
    async with SmtpServer() as server:
        port = server.port
    async with draining(database, tmp_path) as worker:
        account = worker.account(port)
        worker.put(account, MAILS)
    passed, turn = timedelta(), 0
    while passed < OUTAGE:
        turn += 1
        # A worker of its own each time: what one knows of pauses is by the real clock.
        async with draining(database, tmp_path) as worker:
            if turn % 2:
                await worker.run(account)  # nobody listens
            else:
                stage = STAGES[turn // 2 % len(STAGES)]
                async with SmtpServer(port=port, faults=[Fault(stage, "4xx")]):
                    await worker.run(account)
        assert set(worker.states(account)) == {"queued"}
        # The schedule may have come just before.
        time = max(due_at(worker, account) - datetime.now(UTC), timedelta()) + EVERY
        skip(database, time)
        passed += time
    async with SmtpServer(port=port) as back:
        while passed < OUTAGE + 2 * LONGEST_GAP and len(back.accepted) < MAILS:
            async with draining(database, tmp_path) as worker:
                await worker.run(account)
            skip(database, EVERY)
            passed += EVERY
        assert len(back.accepted) == MAILS
    assert worker.states(account) == {"sent": MAILS}
    attempts = worker.attempts(account)
    assert {a.outcome for a in attempts} == {"sent", "not_sent"}
    kinds = {str(a.error_type) for a in attempts}
    assert {"ConnectionFailed", "ServerUnavailable"} <= kinds
    # The server is asked again for one of the mails; the others would meet the same.
    times = sorted(a.started_at for a in attempts)
    assert times[-1] - times[0] >= OUTAGE
    assert max(b - a for a, b in pairwise(times)) <= LONGEST_GAP
