"""SIGTERM while work is under way: nothing is lost, nothing is left without a label."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlmodel import col, select

from models.account import UnknownPolicy
from models.tables import Attempt
from tests.chaos import retrieving, sending
from tests.chaos.harness import World, until
from tests.e2e.processes import ChildProcess, child, python

MAILS = 200
LIMIT_SECONDS = 15
GRACE_SECONDS = 3

# Replies that take their time, so that mails are in every phase, and some that never come.
SLOW = ["--delay-ms", "100:700", "--fault", "reply:hang:0.03", "--fault", "mail:4xx:0.03"]


@pytest.fixture
def world() -> Iterator[World]:
    settings = {"shutdown_seconds": GRACE_SECONDS, "final_reply_seconds": 20}
    with World(seed=1, smtp=SLOW, workers=0, settings=settings) as running:
        yield running


class Generations:
    """Workers one after the other over one store."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stack = ExitStack()
        self._count = 0

    def start(self) -> ChildProcess:
        self._count += 1
        return self._stack.enter_context(
            child(
                python("worker.py"),
                self._world.directory / f"generation{self._count}.log",
                ready="worker ready",
                environment=self._world.environment | {"EMAIL_CONNECTOR_LOG_FORMAT": "json"},
            )
        )

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def generations(world: World) -> Iterator[Generations]:
    made = Generations(world)
    yield made
    made.close()


async def end(worker: ChildProcess, *, twice: bool = False) -> float:
    """Tell a worker to stop; returns after how many seconds it was gone, with code 0."""
    started = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    if twice:
        await asyncio.to_thread(worker.wait_for, "told to stop")
        worker.process.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(worker.process.wait, 60)
    assert code == 0, worker.output
    return time.monotonic() - started


def open_attempts(world: World) -> list[Attempt]:
    with world.store.database.read() as session:
        return list(session.exec(select(Attempt).where(col(Attempt.outcome).is_(None))))


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
async def test_200_mails_survive_the_end_of_their_worker(
    world: World, generations: Generations, twice: bool
) -> None:
    first = await asyncio.to_thread(generations.start)
    load = sending.Sending(world, await world.client())
    for number in range(MAILS):
        # at_least_once may repeat in the window by its contract; these two may never.
        policy = UnknownPolicy.VERIFY if number % 2 else UnknownPolicy.AT_MOST_ONCE
        load.submit(number, policy)
    # In the middle of it: some are accepted, some are waiting for the reply to their dot.
    await until(lambda: len(world.smtp.ledger.read_text().splitlines()) >= MAILS // 8)
    await until(lambda: any(a.dot_intent_at for a in open_attempts(world)))
    seconds = await end(first, twice=twice)
    assert seconds < LIMIT_SECONDS

    # Whatever was under way has its label before anybody takes over.
    assert open_attempts(world) == []
    done = len(world.smtp.ledger.read_text().splitlines())
    assert 0 < done < MAILS

    await asyncio.to_thread(generations.start)
    await load.drained()
    figures = sending.judge(world, load)
    assert figures.wrong() == {}, figures.findings
    assert figures.mails == MAILS
    assert len(world.smtp.ledger.read_text().splitlines()) > done


async def test_a_mailbox_that_is_being_emptied_survives_the_end_of_its_worker(
    world: World, generations: Generations
) -> None:
    client = await world.client()
    async with retrieving.mailboxes(world, 1, 120) as (box,):
        first = await asyncio.to_thread(generations.start)
        work = asyncio.create_task(retrieving.empty(client, box, per_run=120, batch=10))
        await until(lambda: box.has_moved(2))
        assert await end(first) < LIMIT_SECONDS
        moved = box.folder(retrieving.TARGET).total()
        assert 0 < moved < 120
        await asyncio.to_thread(generations.start)
        await work
        figures = await retrieving.judge(world, client, [box])
    assert figures.wrong() == {}, figures.findings
