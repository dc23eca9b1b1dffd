"""A drain when something goes wrong in the middle of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlmodel import col, select, update

from activities.store import queue_ledger
from activities.store.engine import Database
from activities.store.queue_ledger import Intent, Outcome, Recorded
from models.tables import AccountRow, Delivery
from tests.mail.drain_kit import Drain, draining
from tests.smtp_server import Fault, SmtpServer
from tests.unit.store_kit import database

__all__ = ["database"]


@pytest.fixture
async def worker(database: Database, tmp_path: Path) -> AsyncIterator[Drain]:
    async with draining(database, tmp_path) as given:
        yield given


async def test_a_refused_password_is_tried_once_a_connection(worker: Drain) -> None:
    async with SmtpServer(auth=("u", "right")) as server:
        account = worker.account(server.port, password="wrong")
        worker.put(account, 30)
        stopping = asyncio.Event()
        asyncio.get_running_loop().call_later(5, stopping.set)
        counts = await asyncio.wait_for(worker.run(account, stopping=stopping), 20)
        assert not stopping.is_set(), "it ends by itself"
        assert counts == {"parked": 1}
        assert len(server.connections) <= 10
        assert worker.parked(account) == "CredentialsRejected"
        assert worker.states(account) == {"queued": 30}
        assert worker.attempts(account) == []


async def test_a_server_that_is_away_costs_an_attempt_a_connection(worker: Drain) -> None:
    async with SmtpServer() as server:
        account = worker.account(server.port)
    worker.put(account, 60)
    counts = await worker.run(account)
    assert 1 <= counts["queued"] <= 10
    assert len(worker.attempts(account)) == counts["queued"]
    assert worker.states(account) == {"queued": 60}


async def test_an_account_that_cannot_be_read_takes_no_mail_in_transit_along(
    worker: Drain,
) -> None:
    async with SmtpServer(delay_ms=(100, 100)) as server:
        account, broken = worker.account(server.port), worker.account(server.port)
        worker.put(account, 20)
        worker.put(broken)
        with worker.database.write() as session:
            row = session.exec(select(AccountRow).where(AccountRow.id == broken)).one()
            whole = row.settings
            row.settings = {}
            session.add(row)
        assert (await worker.run()) == {"sent": 20}
        assert worker.states(account) == {"sent": 20}
        with pytest.raises(ValueError, match="EmailAccount"):
            await worker.run()  # nothing else is due: now it must be heard of
        with worker.database.write() as session:
            session.add(row)
            row.settings = whole
        assert (await worker.run()) == {"sent": 1}


async def test_a_password_that_changes_in_the_middle_fails_no_mail(worker: Drain) -> None:
    async with SmtpServer(auth=("u", "secret"), faults=[Fault("mail", "rst", times=0)]) as server:
        account = worker.account(server.port, password="secret", max_connections=1)
        worker.put(account, 3)
        assert await worker.run(account, limit=1) == {"sent": 1}
        server.auth = ("u", "changed")
        server.faults = [Fault("mail", "rst", times=1)]
        assert await worker.run(account) == {"parked": 1}
        assert worker.parked(account) == "CredentialsRejected"
        assert worker.states(account) == {"sent": 1, "queued": 2}


async def test_what_expired_is_cancelled_and_counted(worker: Drain) -> None:
    async with SmtpServer() as server:
        account = worker.account(server.port)
        worker.put(account, 230, priority=1, expires_at=datetime.now(UTC))
        worker.put(account, 5)
        assert await worker.run(account) == {"sent": 5, "cancelled": 230}
        assert len(server.accepted) == 5


async def test_what_another_worker_has_taken_over_is_not_counted(
    worker: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = queue_ledger.record

    def stolen(
        database: Database, outcomes: Sequence[Outcome], intents: Sequence[Intent]
    ) -> Recorded:
        with database.write() as session:
            session.connection().execute(
                update(Delivery)
                .where(col(Delivery.id).in_([intent.mail.delivery_id for intent in intents]))
                .values(epoch=col(Delivery.epoch) + 1)
            )
        return record(database, outcomes, intents)

    async with SmtpServer() as server:
        account = worker.account(server.port)
        worker.put(account, 3)
        monkeypatch.setattr(queue_ledger, "record", stolen)
        assert await worker.run(account) == {}
        assert server.accepted == []
    assert worker.states(account) == {"sending": 3}
