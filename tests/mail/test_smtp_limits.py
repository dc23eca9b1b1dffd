"""Limits of connections over workers, and pauses that servers ask for."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from sqlmodel import col, select

from activities.mail import smtp_pool
from activities.ports import Reply, SmtpFailure
from activities.providers.profile import GENERIC
from activities.slow_downs import SlowDowns
from activities.store import slots
from activities.store.aside import Aside
from activities.store.engine import Database
from activities.store.scopes import account_scope, host_scope
from models.delivery import Phase
from models.errors import ConnectorError, ErrorType
from models.settings import Settings
from models.tables import SendingSlot, SlowDown
from tests.mail.pool_kit import PATIENCE, commands, endpoint, transact, working
from tests.smtp_server import Fault, SmtpServer
from tests.unit.store_kit import account_id, database

__all__ = ["account_id", "database"]

NOW = timedelta(0)
SLOWLY = "421 4.7.0 too many mails, come back later"


@pytest.fixture(autouse=True)
def _nothing_is_paused(database: Database) -> None:
    """All servers are on one host."""
    with database.write() as session:
        for row in session.exec(select(SlowDown)):
            session.delete(row)


def slots_of(database: Database, scope: str) -> int:
    with database.read() as session:
        return len(session.exec(select(SendingSlot).where(SendingSlot.scope == scope)).all())


def pause_of(database: Database, scope: str) -> SlowDown | None:
    with database.read() as session:
        return session.get(SlowDown, scope)


def end_pause(database: Database, scope: str) -> None:
    """Let the pause be over since a second."""
    with database.write() as session:
        session.connection().execute(
            update(SlowDown)
            .where(col(SlowDown.scope) == scope)
            .values(until=datetime.now(UTC) - timedelta(seconds=1))
        )


class Crowd:
    """Watches how many connections a server has at once."""

    def __init__(self, server: SmtpServer) -> None:
        self.most = 0
        self._server = server
        self._task = asyncio.create_task(self._watch())

    @property
    def now(self) -> int:
        return sum(c.ended is None for c in self._server.connections)

    async def _watch(self) -> None:
        while True:
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)

    def stop(self) -> int:
        self._task.cancel()
        return self.most


# --- limits ---------------------------------------------------------------------------------------


async def test_fifty_mails_at_once_over_three_connections(
    database: Database, account_id: str
) -> None:
    async with working(database) as worker, SmtpServer(delay_ms=(1, 5)) as server:
        crowd = Crowd(server)
        target = endpoint(server.port, max_connections=3)
        replies = await asyncio.gather(*[worker.send(account_id, target) for _ in range(50)])
        assert crowd.stop() == 3
        assert all(reply.accepted for reply in replies)
        assert (len(server.accepted), len(server.connections)) == (50, 3)
        assert slots_of(database, account_scope(account_id)) == 3
    assert slots_of(database, account_scope(account_id)) == 0


async def test_two_workers_share_the_limit(database: Database, account_id: str) -> None:
    async with (
        working(database, mails_per_connection=3) as one,
        working(database, mails_per_connection=3) as two,
        SmtpServer(delay_ms=(1, 3)) as server,
    ):
        crowd = Crowd(server)
        target = endpoint(server.port, max_connections=3)
        work = [w.send(account_id, target, patience=PATIENCE) for w in (one, two) * 15]
        replies = await asyncio.gather(*work)
        assert crowd.stop() <= 3
        assert all(reply.accepted for reply in replies)
        assert len(server.accepted) == 30


async def test_an_idle_connection_is_given_up_for_another_worker(
    database: Database, account_id: str
) -> None:
    async with working(database) as one, working(database) as two, SmtpServer() as server:
        target = endpoint(server.port, max_connections=1)
        await one.send(account_id, target)
        assert (await two.send(account_id, target)).accepted  # within its patience
        assert [c.ended for c in server.connections] == ["quit", None]


async def test_a_busy_worker_lets_another_one_have_its_turn(
    database: Database, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_pool, "_TURN_SECONDS", 0.2)
    async with (
        working(database) as one,
        working(database) as two,
        SmtpServer(delay_ms=(1, 3)) as server,
    ):
        crowd = Crowd(server)
        target = endpoint(server.port, max_connections=1)
        stop = asyncio.Event()

        async def busy() -> None:
            while not stop.is_set():
                await one.send(account_id, target, patience=timedelta(seconds=30))

        tasks = [asyncio.create_task(busy()) for _ in range(4)]
        await asyncio.sleep(0.3)
        assert (await two.send(account_id, target, patience=timedelta(seconds=20))).accepted
        stop.set()
        await asyncio.gather(*tasks)
        assert crowd.stop() == 1


async def test_who_waits_in_vain_has_tried_nothing(database: Database, account_id: str) -> None:
    async with working(database) as one, working(database) as two, SmtpServer() as server:
        target = endpoint(server.port, max_connections=1)
        async with one.pool.lease(account_id, target, PATIENCE) as session:
            await session.open()
            assert not session.wanted
            for worker in (one, two):
                for patience in (NOW, timedelta(seconds=0.3)):
                    started = time.monotonic()
                    with pytest.raises(ConnectorError) as caught:
                        await worker.send(account_id, target, patience=patience)
                    assert caught.value.type is ErrorType.CONNECTION_LIMIT
                    assert caught.value.temporary
                    assert caught.value.retry_after is not None
                    assert time.monotonic() - started >= patience.total_seconds()
        assert len(server.connections) == 1


async def test_first_come_first_served(database: Database, account_id: str) -> None:
    async with working(database) as worker, SmtpServer() as server:
        target = endpoint(server.port, max_connections=1)
        order: list[int] = []

        async def send(number: int) -> None:
            async with worker.pool.lease(account_id, target, PATIENCE) as session:
                await transact(session)
                order.append(number)

        async with worker.pool.lease(account_id, target, PATIENCE) as first:
            waiting = [asyncio.create_task(send(number)) for number in range(8)]
            await asyncio.sleep(0.1)
            assert first.wanted
        await asyncio.gather(*waiting)
        assert order == list(range(8))
        assert len(server.connections) == 1


async def test_a_limit_of_the_host_is_for_all_accounts(database: Database, account_id: str) -> None:
    async with (
        working(database, connections_per_host=2) as worker,
        SmtpServer(delay_ms=(1, 3)) as server,
    ):
        crowd = Crowd(server)
        target = endpoint(server.port)
        accounts = [f"{account_id}-{number}" for number in range(6)]
        # An idle connection of one account makes room for another one's.
        replies = await asyncio.gather(*[worker.send(a, target) for a in accounts * 3])
        assert crowd.stop() == 2
        assert all(reply.accepted for reply in replies)
        assert len(server.accepted) == 18


async def test_the_profile_limits_an_account_that_sets_no_limit(
    database: Database, account_id: str
) -> None:
    async with (
        working(database, connections_per_account=2) as worker,
        SmtpServer(delay_ms=(1, 3)) as server,
    ):
        target = endpoint(server.port)
        await asyncio.gather(*[worker.send(account_id, target) for _ in range(10)])
        assert len(server.connections) == 2


async def test_a_failed_connection_gives_its_slot_back(database: Database, account_id: str) -> None:
    async with working(database) as worker:
        async with SmtpServer(faults=[Fault("banner", "5xx")]) as server:
            target = endpoint(server.port, max_connections=1)
            for _ in range(3):
                with pytest.raises(SmtpFailure):
                    await worker.send(account_id, target)
        async with asyncio.timeout(5):
            while slots_of(database, account_scope(account_id)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_who_is_cancelled_while_waiting_keeps_nothing(
    database: Database, account_id: str
) -> None:
    async with working(database) as worker, SmtpServer() as server:
        target = endpoint(server.port, max_connections=2)

        async def hold() -> None:
            async with worker.pool.lease(account_id, target, PATIENCE):
                await asyncio.sleep(60)

        for delay in (0.0, 0.001, 0.002, 0.003, 0.005, 0.01):
            task = asyncio.create_task(hold())
            await asyncio.sleep(delay)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await worker.store.settled()
        replies = await asyncio.gather(*[worker.send(account_id, target) for _ in range(6)])
        assert all(reply.accepted for reply in replies)
        assert slots_of(database, account_scope(account_id)) <= 2


async def test_the_slots_of_a_dead_worker_come_back(database: Database, account_id: str) -> None:
    async with working(database, lease_seconds=0.5) as worker, SmtpServer() as server:
        with database.write() as session:
            dead = str(uuid.uuid4())
            lease = timedelta(seconds=0.5)
            assert slots.take(session, account_scope(account_id), 1, dead, lease) == 0
        target = endpoint(server.port, max_connections=1)
        started = time.monotonic()
        assert (await worker.send(account_id, target)).accepted
        assert time.monotonic() - started >= 0.3
        await asyncio.sleep(1)  # ours is renewed, although the lease is over
        with database.write() as session:
            assert slots.take(session, account_scope(account_id), 1, "other", lease) is None


async def test_a_frozen_worker_gives_its_connection_up(database: Database, account_id: str) -> None:
    async with working(database, lease_seconds=60) as worker, SmtpServer() as server:
        target = endpoint(server.port, max_connections=1)
        async with worker.pool.lease(account_id, target, timedelta(seconds=0.3)) as session:
            await transact(session)
            with database.write() as store:  # it slept, and another worker took the slot
                store.connection().execute(
                    update(SendingSlot)
                    .where(col(SendingSlot.scope) == account_scope(account_id))
                    .values(owner="other")
                )
            await worker.limits.renew()
            with pytest.raises(ConnectorError) as caught:
                await session.ready()
            assert caught.value.type is ErrorType.CONNECTION_LIMIT
        assert server.connections[0].ended == "quit"
        with database.read() as store:
            owners = store.exec(
                select(SendingSlot.owner).where(SendingSlot.scope == account_scope(account_id))
            ).all()
        assert owners == ["other"]


# --- pauses ---------------------------------------------------------------------------------------


async def test_a_server_that_asks_for_patience_is_left_alone(
    database: Database, account_id: str
) -> None:
    scope = account_scope(account_id)
    async with (
        working(database) as one,
        working(database) as two,
        SmtpServer(replies={"MAIL": SLOWLY}) as server,
    ):
        target = endpoint(server.port)
        with pytest.raises(SmtpFailure):
            await one.send(account_id, target)
        assert len(server.connections) == 1
        with pytest.raises(ConnectorError) as caught:  # at once, without connecting
            await one.send(account_id, target)
        assert caught.value.type is ErrorType.SLOWED_DOWN
        assert caught.value.retry_after is not None
        await one.store.settled()
        with pytest.raises(ConnectorError) as caught:  # the other worker knows it too
            await two.send(account_id, target)
        assert caught.value.type is ErrorType.SLOWED_DOWN
        assert len(server.connections) == 1

        server.replies.clear()
        await one.send(f"{account_id}-other", target)  # it was this account alone
        end_pause(database, scope)
        await asyncio.sleep(1.1)  # what a worker has read is good for a second
        await two.send(account_id, target)
        await two.store.settled()
        assert pause_of(database, scope) is None  # cleared by the success


async def test_a_kept_connection_that_asks_for_patience_is_not_replaced(
    database: Database, account_id: str
) -> None:
    async with working(database) as worker, SmtpServer() as server:
        target = endpoint(server.port)
        async with worker.pool.lease(account_id, target, PATIENCE) as session:
            await transact(session)
            server.replies["MAIL"] = SLOWLY
            with pytest.raises(SmtpFailure):
                await transact(session)
            with pytest.raises(ConnectorError) as caught:
                await session.ready()
            assert caught.value.type is ErrorType.SLOWED_DOWN
        assert (len(server.connections), commands(server, "MAIL")) == (1, 2)


async def test_a_refusal_at_the_door_pauses_the_host(database: Database, account_id: str) -> None:
    async with working(database) as worker, SmtpServer(faults=[Fault("banner", "4xx")]) as server:
        target = endpoint(server.port)
        with pytest.raises(SmtpFailure):
            await worker.send(account_id, target)
        with pytest.raises(ConnectorError) as caught:
            await worker.send(f"{account_id}-other", target)
        assert caught.value.type is ErrorType.SLOWED_DOWN
        await worker.store.settled()
        row = pause_of(database, host_scope(target.host))
        assert row is not None
        assert (row.strikes, row.code, row.enhanced_code) == (1, 421, "4.3.2")
        assert len(server.connections) == 1


async def test_pauses_grow_while_the_server_keeps_asking(
    database: Database, account_id: str
) -> None:
    scope = account_scope(account_id)
    lengths = []
    async with SmtpServer(replies={".": "451 4.7.500 server busy"}) as server:
        for _ in range(3):
            async with working(database) as worker:
                started = datetime.now(UTC)
                assert (await worker.send(account_id, endpoint(server.port))).code == 451
            row = pause_of(database, scope)
            assert row is not None
            lengths.append((row.until - started).total_seconds())
            end_pause(database, scope)
    for length, base in zip(lengths, (1, 2, 4), strict=True):
        assert 0.8 * base <= length < 1.2 * base + 1


@pytest.mark.parametrize(
    ("phase", "reply", "asks"),
    [
        (Phase.MAIL, Reply(421, "", "4.7.0"), True),
        (Phase.REPLY, Reply(451, "", "4.7.500"), True),
        (Phase.REPLY, Reply(432, "", "4.3.2"), True),
        (Phase.AUTH, Reply(454, "", "4.7.0"), True),
        (Phase.RCPT, Reply(421, "", "4.7.28"), True),
        (Phase.RCPT, Reply(452, "", "4.3.2"), True),
        (Phase.RCPT, Reply(451, "greylisted", "4.7.1"), False),
        (Phase.STARTTLS, Reply(454, "no TLS now", "4.7.0"), False),
        (Phase.MAIL, Reply(421, "", None), False),
        (Phase.MAIL, Reply(421, "", "4.4.2"), False),
        (Phase.MAIL, Reply(451, "", "4.3.20"), False),
        (Phase.MAIL, Reply(550, "", "5.7.1"), False),
        (Phase.REPLY, Reply(250, "", "2.0.0"), False),
    ],
)
async def test_what_asks_for_patience(
    database: Database, account_id: str, phase: Phase, reply: Reply, asks: bool
) -> None:
    async with Aside(database) as store:
        pauses = SlowDowns(store, Settings(), lambda _: GENERIC)
        assert pauses.asks_patience("mail.example", phase, reply) is asks
        assert pauses.heard(account_id, "mail.example", phase, reply) is asks
    assert (pause_of(database, account_scope(account_id)) is not None) is asks
