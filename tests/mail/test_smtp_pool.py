"""The pool: connections are kept, watched and closed; their limits have a file of their own."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import SecretStr

from activities.mail import smtp_lease
from activities.mail.smtp_places import Key
from activities.ports import Endpoint, SmtpFailure
from activities.store.engine import Database
from models.account import LoginMethod
from models.delivery import Phase
from models.errors import ErrorType
from tests.mail.pool_kit import PATIENCE, Worker, commands, endpoint, transact, working
from tests.mail.smtp_kit import MAIL, RCPT, SENDER, basic
from tests.smtp_server import Fault, SmtpServer
from tests.unit.store_kit import account_id, database

__all__ = ["account_id", "database"]


async def until(condition, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture
async def worker(database: Database):
    async with working(database) as worker:
        yield worker


# --- keeping --------------------------------------------------------------------------------------


async def test_one_connection_for_one_mail_after_another(worker: Worker, account_id: str) -> None:
    async with SmtpServer() as server:
        for _ in range(5):
            assert (await worker.send(account_id, endpoint(server.port))).accepted
        assert len(server.accepted) == 5
        assert len(server.connections) == 1
        assert (commands(server, "EHLO"), commands(server, "RSET")) == (1, 0)


async def test_a_lease_carries_many_mails_and_counts_them(worker: Worker, account_id: str) -> None:
    async with SmtpServer() as server:
        async with worker.pool.lease(account_id, endpoint(server.port), PATIENCE) as session:
            assert (session.connected, session.mails, session.phase) == (False, 0, Phase.CONNECT)
            await session.open()
            assert "SIZE" in session.capabilities
            for number in range(3):
                assert session.mails == number
                await session.ready()
                await transact(session)
            assert (session.connected, session.mails, session.phase) == (True, 3, Phase.DONE)
        assert len(server.connections) == 1


async def test_entering_a_lease_talks_to_nobody(worker: Worker, account_id: str) -> None:
    async with SmtpServer() as server:
        async with worker.pool.lease(account_id, endpoint(server.port), PATIENCE) as session:
            await session.reset()
        assert not server.connections


async def test_accounts_do_not_share_connections(
    worker: Worker, account_id: str, database: Database
) -> None:
    async with SmtpServer() as server:
        await worker.send(account_id, endpoint(server.port))
        await worker.send(f"{account_id}-2", endpoint(server.port))
        assert len(server.connections) == 2


async def test_a_connection_carries_its_share_of_mails(database: Database, account_id: str) -> None:
    async with working(database, mails_per_connection=2) as worker, SmtpServer() as server:
        for _ in range(3):
            await worker.send(account_id, endpoint(server.port))
        async with worker.pool.lease(account_id, endpoint(server.port), PATIENCE) as session:
            for _ in range(3):
                await transact(session)
        mails = [c.commands.count("DATA") for c in server.connections]
        assert mails == [2, 2, 2]
        await until(lambda: [c.ended for c in server.connections] == ["quit"] * 3)


async def test_a_changed_password_gets_another_connection(worker: Worker, account_id: str) -> None:
    async with SmtpServer(auth=("bender", "new")) as server:
        target = endpoint(server.port, max_connections=1, **basic("bender", "new"))
        await worker.send(account_id, target)
        with pytest.raises(SmtpFailure) as caught:
            await worker.send(account_id, replace(target, password=SecretStr("old")))
        assert caught.value.type is ErrorType.CREDENTIALS_REJECTED
        assert server.connections[0].ended == "quit"  # the only right went from one to the other
        await worker.send(account_id, target)
        assert len(server.connections) == 3


async def test_an_account_with_a_new_server_does_not_wait_for_connections_to_the_old_one(
    worker: Worker, account_id: str
) -> None:
    async with SmtpServer() as server:
        old = endpoint(server.port, max_connections=1)
        assert (await worker.send(account_id, old)).accepted
        new = replace(old, host="localhost")
        assert (await worker.send(account_id, new, patience=timedelta(seconds=5))).accepted
        assert [connection.ended for connection in server.connections] == ["quit", None]


async def test_idle_connections_are_closed(database: Database, account_id: str) -> None:
    async with working(database, idle_seconds=0.1) as worker, SmtpServer() as server:
        await worker.send(account_id, endpoint(server.port))
        await until(lambda: server.connections[0].ended == "quit")
        await worker.send(account_id, endpoint(server.port))
        assert len(server.connections) == 2


async def test_the_oldest_are_closed_when_there_are_too_many(
    database: Database, account_id: str
) -> None:
    async with working(database, most=2) as worker, SmtpServer() as server:
        for number in range(4):
            await worker.send(f"{account_id}-{number}", endpoint(server.port))
        await until(lambda: [c.ended for c in server.connections] == ["quit", "quit", None, None])


async def test_all_are_closed_at_the_end_also_those_that_hang(
    database: Database, account_id: str
) -> None:
    async with SmtpServer() as good, SmtpServer(faults=[Fault("quit", "hang")]) as bad:
        async with working(database) as worker:
            for number in range(3):
                await worker.send(f"{account_id}-{number}", endpoint(bad.port))
            await worker.send(account_id, endpoint(good.port))
            started = time.monotonic()
        assert time.monotonic() - started < 2.5  # each alone would take a second
        await until(lambda: good.connections[0].ended == "quit")
        assert commands(bad, "QUIT") == 3


# --- dying ----------------------------------------------------------------------------------------


async def test_a_server_that_drops_idle_connections_costs_nothing(
    worker: Worker, account_id: str
) -> None:
    async with SmtpServer() as server:
        await worker.send(account_id, endpoint(server.port))
        server.connections[0].cut()
        await asyncio.sleep(0.05)
        assert (await worker.send(account_id, endpoint(server.port))).accepted
        assert (len(server.accepted), len(server.connections)) == (2, 2)


@pytest.mark.parametrize("way", ["rst", "fin", "4xx", "garbage"])
async def test_a_kept_connection_that_dies_at_mail_is_replaced_at_once(
    worker: Worker, account_id: str, way: str
) -> None:
    async with SmtpServer() as server:
        await worker.send(account_id, endpoint(server.port))
        if way == "4xx":
            server.connections[0].replies["MAIL"] = "421 4.4.2 idle for too long"
        else:
            server.faults = [Fault("mail", way, times=1)]
        assert (await worker.send(account_id, endpoint(server.port))).accepted
        assert (len(server.accepted), len(server.connections)) == (2, 2)
        await worker.send(account_id, endpoint(server.port))
        assert len(server.connections) == 2


async def test_a_fresh_connection_that_dies_is_not_replaced(
    worker: Worker, account_id: str
) -> None:
    async with SmtpServer(faults=[Fault("mail", "rst", times=1)]) as server:
        with pytest.raises(SmtpFailure) as caught:
            await worker.send(account_id, endpoint(server.port))
        assert (caught.value.phase, len(server.connections)) == (Phase.MAIL, 1)


@pytest.mark.parametrize("stage", ["data", "body", "before_dot", "after_dot", "reply"])
async def test_after_data_nothing_is_repeated(worker: Worker, account_id: str, stage: str) -> None:
    async with SmtpServer() as server:
        await worker.send(account_id, endpoint(server.port))
        server.faults = [Fault(stage, "rst", times=1)]
        with pytest.raises(SmtpFailure):
            await worker.send(account_id, endpoint(server.port))
        assert commands(server, "MAIL") == 2
        assert len(server.accepted) == (2 if stage == "reply" else 1)
        await worker.send(account_id, endpoint(server.port))
        assert len(server.connections) == 2


async def test_421_after_the_mail_closes(worker: Worker, account_id: str) -> None:
    async with SmtpServer(replies={".": "421 4.4.0 going down"}) as server:
        assert (await worker.send(account_id, endpoint(server.port))).code == 421
        server.replies.clear()
        await worker.send(account_id, endpoint(server.port))
        assert len(server.connections) == 2


async def test_a_refusal_keeps_the_connection(worker: Worker, account_id: str) -> None:
    async with SmtpServer(recipients={"no@test.example": 550}) as server:
        target = endpoint(server.port)
        assert (await worker.send(account_id, target, recipient="no@test.example")).code == 550
        assert (await worker.send(account_id, target)).accepted
        assert len(server.connections) == 1
        assert commands(server, "RSET") == 1  # the transaction had been left open


async def test_after_a_rest_a_connection_is_asked_whether_it_lives(
    worker: Worker, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_lease, "_TRUSTED_SECONDS", 0.0)
    async with SmtpServer() as server:
        target = endpoint(server.port)
        await worker.send(account_id, target)
        await worker.send(account_id, target)
        assert (len(server.connections), commands(server, "RSET")) == (1, 1)
        server.replies["RSET"] = "421 4.4.2 too late"
        assert (await worker.send(account_id, target)).accepted
        assert (len(server.connections), len(server.accepted)) == (2, 3)


async def test_a_probe_that_hangs_does_not_hold_the_mail_up_for_long(
    worker: Worker, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_lease, "_TRUSTED_SECONDS", 0.0)
    monkeypatch.setattr(smtp_lease, "_PROBE_SECONDS", 0.1)
    async with SmtpServer() as server:
        target = endpoint(server.port, timeout=timedelta(seconds=30))
        await worker.send(account_id, target)
        server.connections[0].replies["RSET"] = ""
        assert (await asyncio.wait_for(worker.send(account_id, target), 5)).accepted
        assert len(server.connections) == 2


async def test_an_abandoned_mail_closes_its_connection(worker: Worker, account_id: str) -> None:
    async with SmtpServer() as server:
        async with worker.pool.lease(account_id, endpoint(server.port), PATIENCE) as session:
            await session.envelope(SENDER, [RCPT], len(MAIL))
            await session.body(MAIL)  # and then another worker has the mail
        await worker.send(account_id, endpoint(server.port))
        assert (len(server.connections), len(server.accepted)) == (2, 1)


# --- secrets --------------------------------------------------------------------------------------


class Tokens:
    """Gives the tokens it was told, one after the other when forced."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = list(tokens)
        self.asked: list[bool] = []

    async def fresh(self, *, force: bool) -> SecretStr:
        self.asked.append(force)
        if force and len(self._tokens) > 1:
            self._tokens.pop(0)
        return SecretStr(self._tokens[0])


def with_tokens(port: int, tokens: Tokens) -> Endpoint:
    return endpoint(port, login=LoginMethod.BASIC, username="bender", credentials=tokens)


async def test_a_refused_token_is_renewed_once(worker: Worker, account_id: str) -> None:
    async with SmtpServer(auth=("bender", "token-two")) as server:
        tokens = Tokens("token-one", "token-two")
        target = with_tokens(server.port, tokens)
        assert (await worker.send(account_id, target)).accepted
        assert tokens.asked == [False, True]
        assert (await worker.send(account_id, target)).accepted
        assert len(server.connections) == 2  # that with the good token is kept


async def test_a_token_that_is_refused_again_is_the_end(worker: Worker, account_id: str) -> None:
    async with SmtpServer(auth=("bender", "token-three")) as server:
        tokens = Tokens("token-one", "token-two")
        with pytest.raises(SmtpFailure) as caught:
            await worker.send(account_id, with_tokens(server.port, tokens))
        assert (caught.value.type, caught.value.phase) == (
            ErrorType.CREDENTIALS_REJECTED,
            Phase.AUTH,
        )
        assert (tokens.asked, len(server.connections)) == ([False, True], 2)


async def test_a_refused_password_is_not_tried_again(worker: Worker, account_id: str) -> None:
    async with SmtpServer(auth=("bender", "right")) as server:
        with pytest.raises(SmtpFailure):
            await worker.send(account_id, endpoint(server.port, **basic("bender", "wrong")))
        assert len(server.connections) == 1


async def test_no_secret_is_shown_or_logged(
    worker: Worker, account_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with SmtpServer(auth=("bender", "canary-secret")) as server:
        target = endpoint(server.port, **basic("bender", "canary-secret"))
        async with worker.pool.lease(account_id, target, PATIENCE) as session:
            await transact(session)
            shown = repr(Key.of(target)) + repr(session.place)
        shown += repr(with_tokens(server.port, Tokens("canary-secret")))
    key = Key.of(target)
    assert key != Key.of(replace(target, password=SecretStr("other")))
    assert key.secret is not None
    for text in (shown, caplog.text):
        assert "canary" not in text
        assert repr(key.secret)[2:-1] not in text
        assert key.secret.hex() not in text
