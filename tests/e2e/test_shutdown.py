"""SIGTERM while work is under way: nothing is lost, nothing is left without a label."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from aiohttp import ClientSession
from pydantic import SecretStr
from sqlmodel import col, select

from activities.store.accounts import Secrets
from models.account import (
    AccountSettings,
    IncomingProtocol,
    IncomingServer,
    Security,
    UnknownPolicy,
)
from models.mailbox import RetrieveEmailMessagesInput
from models.settings import Settings
from models.tables import Attempt
from tests.chaos import retrieving, sending
from tests.chaos.harness import World, until
from tests.chaos.judging import judge
from tests.e2e.processes import ChildProcess, child, python
from tests.imap_server import Command, ImapServer
from tests.imap_server import Session as ImapSession
from tools.servers.process import free_port

_log = logging.getLogger(__name__)

MAILS = 200
LIMIT_SECONDS = 15
DEFAULT_GRACE_SECONDS: float = Settings.model_fields["shutdown_seconds"].default

# Replies that take their time, so that mails are in every phase, and some that never come.
SLOW = ["--delay-ms", "100:700", "--fault", "reply:hang:0.03", "--fault", "mail:4xx:0.03"]


_EXAMINED = b"* 3 EXISTS\r\n* OK [UIDVALIDITY 7] valid\r\n* OK [UIDNEXT 4] next\r\nTAG OK done\r\n"


@pytest.fixture
def grace() -> float:
    """Of running steps, in seconds; less than the default where that shows the same."""
    return 3


@pytest.fixture
def replies() -> list[str]:
    """How the SMTP server answers: options of its command."""
    return SLOW


@pytest.fixture
def world(grace: float, replies: list[str]) -> Iterator[World]:
    settings = {"shutdown_seconds": grace, "final_reply_seconds": 20}
    with World(seed=1, smtp=replies, workers=0, settings=settings) as running:
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


@pytest.mark.parametrize(
    ("grace", "twice"), [(DEFAULT_GRACE_SECONDS, False), (3, True)], ids=["once", "twice"]
)
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
    figures = judge(world, load.mails)
    assert figures.wrong() == {}, figures.findings
    assert figures.mails == MAILS
    assert len(world.smtp.ledger.read_text().splitlines()) > done
    _log.info("ended in %.1f s with %d mails accepted: %s", seconds, done, figures)


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


async def test_a_server_that_hangs_does_not_hold_the_end_up(
    world: World, generations: Generations
) -> None:
    """A thread that waits for a mail server cannot be cancelled; its connection is cut."""
    client = await world.client()
    asked = threading.Event()

    async def silence(_session: ImapSession, _command: Command) -> None:
        asked.set()
        await asyncio.sleep(3600)

    with ImapServer() as server:
        server.on("EXAMINE", silence)
        settings = AccountSettings(
            name="hangs",
            email_address="a@chaos.test",
            incoming=IncomingServer(
                protocol=IncomingProtocol.IMAP,
                host="127.0.0.1",
                port=server.port,
                security=Security.NONE,
                username="user",
                connection_timeout_ms=60_000,
            ),
        )
        with world.store.database.write() as session:
            secrets = Secrets(incoming=SecretStr("password"))
            world.store.accounts.add(session, "hangs", settings, secrets)
        first = await asyncio.to_thread(generations.start)
        handle = await retrieving.start(client, RetrieveEmailMessagesInput(account="hangs"))
        assert await asyncio.to_thread(asked.wait, 30)
        assert await end(first) < LIMIT_SECONDS
        server.on("EXAMINE", _EXAMINED)
        await asyncio.to_thread(generations.start)
        # Another worker asks again, and finds the mailbox well.
        result = await handle.result()
    assert result.retrieved == 3


# The one mail waits for the reply to its dot however late this process looks.
@pytest.mark.parametrize("replies", [["--fault", "reply:hang:1"]], ids=["no-reply"])
async def test_a_database_that_hangs_ends_the_worker_hard_and_the_ledger_labels(
    world: World, generations: Generations
) -> None:
    first = await asyncio.to_thread(generations.start)
    load = sending.Sending(world, await world.client())
    load.submit(1, UnknownPolicy.VERIFY)
    await until(lambda: any(a.dot_intent_at for a in open_attempts(world)))
    with world.store.database.write() as session:  # SQLite has one writer: here
        session.connection()
        started = time.monotonic()
        first.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(first.process.wait, 60)
        assert time.monotonic() - started < LIMIT_SECONDS
    assert code == 1
    await asyncio.to_thread(generations.start)
    await load.drained()
    figures = judge(world, load.mails)
    assert figures.wrong() == {}, figures.findings
    assert figures.unknown == 1
    assert open_attempts(world) == []


async def test_a_worker_that_is_told_to_stop_is_not_ready(
    world: World, generations: Generations
) -> None:
    address = f"127.0.0.1:{free_port()}"
    world.environment["EMAIL_CONNECTOR_HEALTH_ADDRESS"] = address
    worker = await asyncio.to_thread(generations.start)

    async def parts() -> tuple[int, dict[str, str]]:
        async with (
            ClientSession() as session,
            session.get(f"http://{address}/readyz") as answer,
        ):
            found: dict[str, str] = (await answer.json())["parts"]
            return answer.status, found

    assert await parts() == (200, {"temporal": "ok", "database": "ok", "pollers": "ok"})
    load = sending.Sending(world, await world.client())
    for number in range(40):  # so many that one of them waits for a reply that never comes
        load.submit(number, UnknownPolicy.VERIFY)
    await until(lambda: bool(open_attempts(world)))
    worker.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(worker.wait_for, "told to stop")
    assert await parts() == (503, {"temporal": "ok", "database": "ok", "pollers": "failed"})
    assert await asyncio.to_thread(worker.process.wait, 60) == 0
    await asyncio.to_thread(generations.start)
    await load.drained()

    world.temporal.stop()
    status, found = await parts()
    assert status == 503
    assert found["temporal"] == "failed"
    assert found["database"] == "ok"
