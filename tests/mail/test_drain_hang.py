"""A server that does not answer the final dot for minutes: nobody else waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from activities.store.engine import Database
from tests.mail.drain_kit import Drain, draining
from tests.smtp_server import Fault, SmtpServer
from tests.unit.store_kit import database

__all__ = ["database"]

LATE = "250 2.0.0 taken after all"


@pytest.fixture
async def worker(database: Database, tmp_path: Path) -> AsyncIterator[Drain]:
    async with draining(database, tmp_path, handover_seconds=0.2, queue_lease_seconds=1.5) as given:
        yield given


@pytest.fixture
async def silent() -> AsyncIterator[SmtpServer]:
    """Takes a mail and says nothing to its final dot."""
    async with SmtpServer(faults=[Fault("reply", "hang", times=1)]) as server:
        yield server


async def hand_over(worker: Drain, server: SmtpServer, account: str) -> None:
    """Drain until the server is silent, and for no longer."""
    stopping = asyncio.Event()
    drain = asyncio.create_task(worker.run(account, stopping=stopping))
    await asyncio.wait_for(server.struck.wait(), 20)
    assert not drain.done()
    stopping.set()
    assert not await asyncio.wait_for(drain, 20), worker.attempts(account)
    assert worker.states(account) == {"sending": 1}


async def answer(server: SmtpServer) -> None:
    """Take the mail after all, and hang up."""
    await server.connections[0].answer(LATE)
    server.connections[0].cut()


async def test_the_next_round_serves_the_others(worker: Drain, silent: SmtpServer) -> None:
    hung = worker.account(silent.port)
    (delivery,) = worker.put(hung)
    await hand_over(worker, silent, hung)
    async with SmtpServer() as server:
        other = worker.account(server.port)
        worker.put(other, 30)
        await asyncio.wait_for(worker.run(), 20)
        assert worker.states(other) == {"sent": 30}
    held, epoch = worker.row(delivery).leased_until, worker.row(delivery).epoch
    assert held is not None
    async with asyncio.timeout(20):
        while (worker.row(delivery).leased_until or held) <= held:  # noqa: ASYNC110 - a row
            await asyncio.sleep(0.05)
    assert await worker.run(hung) == {}, "it is renewed: nobody may take it over"
    await answer(silent)
    await worker.until(hung, {"sent": 1})
    assert worker.row(delivery).epoch == epoch
    (attempt,) = worker.attempts(hung)
    assert attempt.outcome == "sent"
    assert len(silent.accepted) == 1
    assert await worker.run(hung) == {"sent": 1}, "told by the round that follows"
    assert await worker.run(hung) == {}


async def test_its_account_goes_on_over_other_connections(
    worker: Drain, silent: SmtpServer
) -> None:
    account = worker.account(silent.port, max_connections=2)
    worker.put(account)
    await hand_over(worker, silent, account)
    worker.put(account, 5)
    assert await asyncio.wait_for(worker.run(account), 20) == {"sent": 5}
    await answer(silent)
    await worker.until(account, {"sent": 6})
    assert len({mail.message_id for mail in silent.accepted}) == len(silent.accepted) == 6


async def test_a_cancelled_drain_hears_the_reply(worker: Drain, silent: SmtpServer) -> None:
    account = worker.account(silent.port, max_connections=1)
    worker.put(account, 3)
    drain = asyncio.create_task(worker.run(account))
    await asyncio.wait_for(silent.struck.wait(), 20)
    drain.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(drain, 20)
    await answer(silent)
    await worker.until(account, {"sent": 1, "queued": 2})
    assert await worker.run(account) == {"sent": 3}
    assert len(silent.accepted) == 3


async def test_a_worker_that_ends_labels_it(worker: Drain, silent: SmtpServer) -> None:
    account = worker.account(silent.port)
    worker.put(account, unknown_policy="at_most_once")
    await hand_over(worker, silent, account)
    await asyncio.wait_for(worker.drainer.finish(0), 20)
    assert worker.states(account) == {"unknown": 1}
    (attempt,) = worker.attempts(account)
    assert attempt.outcome == "unknown"


async def test_a_worker_that_ends_waits_for_it(worker: Drain, silent: SmtpServer) -> None:
    account = worker.account(silent.port)
    worker.put(account)
    await hand_over(worker, silent, account)
    ending = asyncio.create_task(worker.drainer.finish(20))
    await answer(silent)
    await asyncio.wait_for(ending, 20)
    assert worker.states(account) == {"sent": 1}


async def test_a_limit_is_counted_to_the_end(worker: Drain, silent: SmtpServer) -> None:
    account = worker.account(silent.port)
    worker.put(account, 2)
    stopping = asyncio.Event()
    drain = asyncio.create_task(worker.run(account, limit=1, stopping=stopping))
    await asyncio.wait_for(silent.struck.wait(), 20)
    stopping.set()
    done, _ = await asyncio.wait({drain}, timeout=0.5)
    assert not done, "its workflow has to know what is left of the limit"
    await answer(silent)
    assert await asyncio.wait_for(drain, 20) == {"sent": 1}
