"""Watching folders: a real Dovecot, and a scripted server for what no real one does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from activities.mail.imap_idle import ImapWatch, ImapWatcher
from activities.ports import Endpoint, WatchTiming
from models.account import Security
from models.errors import ConnectorError, ErrorType
from tests.imap_server import CAPABILITIES, Command, ImapServer, Session
from tests.mail.imap_hostile_kit import endpoint as scripted
from tests.mail.imap_kit import endpoint as real
from tests.mail.imap_kit import new_user, raw, running_dovecot
from tests.mail.swallowing_proxy import SwallowingProxy
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot

PATIENT = WatchTiming(timedelta(seconds=60), timedelta(seconds=10), timedelta(seconds=60))
BRIEF = WatchTiming(timedelta(seconds=0.2), timedelta(seconds=10), timedelta(seconds=0.2))
HASTY = WatchTiming(timedelta(seconds=0.2), timedelta(seconds=0.5), timedelta(seconds=0.2))
WITH_IDLE = CAPABILITIES + " IDLE"


@pytest.fixture
def watcher() -> Iterator[ImapWatcher]:
    watcher = ImapWatcher(4)
    yield watcher
    watcher.close()


@asynccontextmanager
async def watching(
    watcher: ImapWatcher, where: Endpoint, timing: WatchTiming = PATIENT, folder: str = "INBOX"
) -> AsyncIterator[ImapWatch]:
    watch = await watcher.open(where, folder, timing)
    try:
        yield watch
    finally:
        watch.close()


async def soon(waiting: Awaitable[int]) -> int:
    async with asyncio.timeout(20):
        return await waiting


async def idling(watch: ImapWatch) -> asyncio.Task[int]:
    """A wait that has told the server to tell."""
    task = asyncio.create_task(watch.wait())
    async with asyncio.timeout(20):
        while not watch._idling:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return task


@pytest.fixture
def server() -> Iterator[ImapServer]:
    with ImapServer(capabilities=WITH_IDLE) as server:
        yield server


def says(
    server: ImapServer, *pieces: bytes, end: bool = False, then: bytes = b"TAG OK done\r\n"
) -> None:
    """Invite the client, say the pieces one by one, and complete after DONE."""

    async def idle(session: Session, command: Command) -> None:
        await session.send(b"+ idling\r\n")
        for piece in pieces:
            await session.send(piece)
            await asyncio.sleep(0.05)
        if end:
            session.writer.close()
            return
        await session.reader.readline()
        await session.send(then.replace(b"TAG", command.tag))

    server.on("IDLE", idle)


class TestDovecot:
    @pytest.mark.parametrize("security", [Security.NONE, Security.STARTTLS, Security.TLS])
    async def test_mail_is_noticed(
        self, watcher: ImapWatcher, dovecot: Dovecot, test_ca: TestCA, security: Security
    ) -> None:
        user = new_user()
        dovecot.deliver(user, raw("before"))
        where = replace(real(dovecot, user, security), ca_file=str(test_ca.ca_file))
        async with watching(watcher, where) as watch:
            assert watch.idles
            assert (watch.opened.exists, watch.opened.uid_next) == (1, 2)
            for _ in range(2):
                waiting = await idling(watch)
                dovecot.deliver(user, raw("new"))
                assert await soon(waiting) == 1

    async def test_a_removal_is_no_news_and_the_next_mail_is(
        self, watcher: ImapWatcher, dovecot: Dovecot
    ) -> None:
        user = new_user()
        dovecot.deliver(user, raw("before"))
        async with watching(watcher, real(dovecot, user)) as watch:
            waiting = await idling(watch)
            dovecot.doveadm("expunge", "-u", user, "mailbox", "INBOX", "all")
            while watch._dialogue.exists:
                assert not waiting.done()
                await asyncio.sleep(0.01)
            dovecot.deliver(user, raw("new"))
            assert await soon(waiting) == 1

    async def test_idle_is_begun_anew_and_mail_in_between_is_noticed(
        self, watcher: ImapWatcher, dovecot: Dovecot
    ) -> None:
        user = new_user()
        async with watching(watcher, real(dovecot, user), BRIEF) as watch:
            assert [await soon(watch.wait()) for _ in range(3)] == [0, 0, 0]
            assert not watch._idling
            dovecot.deliver(user, raw("between two"))
            assert await soon(watch.wait()) == 1

    async def test_a_server_without_idle_is_asked(
        self, watcher: ImapWatcher, test_ca: TestCA
    ) -> None:
        with running_dovecot(test_ca, capabilities="IMAP4rev1 UIDPLUS") as server:
            user = new_user()
            async with watching(watcher, real(server, user), BRIEF) as watch:
                assert not watch.idles
                assert await soon(watch.wait()) == 0
                server.deliver(user, raw("new"))
                assert await soon(watch.wait()) == 1
                assert await soon(watch.wait()) == 0

    async def test_a_missing_folder(self, watcher: ImapWatcher, dovecot: Dovecot) -> None:
        with pytest.raises(ConnectorError) as caught:
            await watcher.open(real(dovecot, new_user()), "Nowhere", PATIENT)
        assert caught.value.type is ErrorType.FOLDER_NOT_FOUND

    async def test_a_silent_line_is_noticed_and_a_new_connection_is_not_in_the_way(
        self, watcher: ImapWatcher, dovecot: Dovecot
    ) -> None:
        user = new_user()
        async with SwallowingProxy(dovecot.imap_port) as proxy:
            where = replace(real(dovecot, user), host="127.0.0.1", port=proxy.port)
            async with watching(watcher, where, HASTY) as watch:
                assert await soon(watch.wait()) == 0
                proxy.swallows = True
                with pytest.raises(ConnectorError) as caught:
                    await soon(watch.wait())
                assert caught.value.type is ErrorType.CONNECTION_TIMED_OUT
            with pytest.raises(ConnectorError) as caught:
                await watcher.open(where, "INBOX", HASTY)
            assert caught.value.type is ErrorType.CONNECTION_TIMED_OUT
            proxy.swallows = False
            async with watching(watcher, where, BRIEF) as watch:
                assert await soon(watch.wait()) == 0
            assert proxy.connections == 3


class TestFaults:
    @pytest.mark.parametrize(
        "pieces",
        [
            (b"* 4 EXI", b"STS\r\n"),
            (b"* 4 EXISTS\r", b"\n"),
            (b"*", b" ", b"4 EXISTS", b"\r", b"\n"),
        ],
    )
    async def test_a_line_in_pieces(
        self, watcher: ImapWatcher, server: ImapServer, pieces: tuple[bytes, ...]
    ) -> None:
        says(server, *pieces)
        async with watching(watcher, scripted(server)) as watch:
            assert await soon(watch.wait()) == 1

    @pytest.mark.parametrize(
        ("what", "type_"),
        [
            (lambda s: says(s, end=True), ErrorType.CONNECTION_LOST),
            (lambda s: says(s, b"* BYE restarting\r\n"), ErrorType.CONNECTION_LOST),
            (lambda s: says(s, b"\x80\xff\0 what\r\n"), ErrorType.PROTOCOL_VIOLATION),
            (lambda s: says(s, b"x" * 100_000), ErrorType.PROTOCOL_VIOLATION),
            (lambda s: says(s, b"* 1 X {99999999}\r\n"), ErrorType.PROTOCOL_VIOLATION),
            (lambda s: says(s, then=b""), ErrorType.CONNECTION_TIMED_OUT),
            (lambda s: says(s, then=b"TAG NO later\r\n"), ErrorType.SERVER_UNAVAILABLE),
            (lambda s: s.on("IDLE", b""), ErrorType.CONNECTION_TIMED_OUT),
        ],
        ids=["eof", "bye", "garbage", "line", "literal", "silent", "no", "no-invitation"],
    )
    async def test_ends_in_an_error(
        self,
        watcher: ImapWatcher,
        server: ImapServer,
        what: Callable[[ImapServer], None],
        type_: ErrorType,
    ) -> None:
        what(server)
        async with watching(watcher, scripted(server), HASTY) as watch:
            with pytest.raises(ConnectorError) as caught:
                await soon(watch.wait())
            assert caught.value.type is type_
            with pytest.raises(ConnectorError):
                await watch.wait()

    async def test_a_flood(self, watcher: ImapWatcher, server: ImapServer) -> None:
        says(server, b"* 1 RECENT\r\n" * 200_000)
        async with watching(watcher, scripted(server)) as watch:
            with pytest.raises(ConnectorError) as caught:
                await soon(watch.wait())
            assert caught.value.type is ErrorType.PROTOCOL_VIOLATION

    async def test_an_end_costs_no_time_of_the_processor(
        self, watcher: ImapWatcher, server: ImapServer
    ) -> None:
        """A loop that spins over the end of a connection would use up all of this."""
        says(server, end=True)
        async with watching(watcher, scripted(server)) as watch:
            with pytest.raises(ConnectorError):
                await soon(watch.wait())
            used = time.process_time()
            await asyncio.sleep(1)
            assert time.process_time() - used < 0.5

    @pytest.mark.parametrize("refusal", [b"TAG NO not now\r\n", b"TAG BAD what\r\n"])
    async def test_a_server_that_refuses_idle_is_asked(
        self, watcher: ImapWatcher, server: ImapServer, refusal: bytes
    ) -> None:
        server.on("IDLE", refusal)
        async with watching(watcher, scripted(server), BRIEF) as watch:
            assert watch.idles
            assert await soon(watch.wait()) == 0
            assert not watch.idles
            server.on(
                "EXAMINE",
                b"* 4 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 5] x\r\nTAG OK done\r\n",
            )
            assert await soon(watch.wait()) == 1

    async def test_a_folder_that_was_made_anew_is_opened_anew(
        self, watcher: ImapWatcher, server: ImapServer
    ) -> None:
        server.on("IDLE", b"TAG NO not now\r\n")
        async with watching(watcher, scripted(server), BRIEF) as watch:
            assert await soon(watch.wait()) == 0
            server.on("EXAMINE", b"* 0 EXISTS\r\n* OK [UIDVALIDITY 8] x\r\nTAG OK done\r\n")
            with pytest.raises(ConnectorError) as caught:
                await soon(watch.wait())
            assert caught.value.type is ErrorType.CONNECTION_LOST

    async def test_what_is_said_right_after_opening_is_heard(
        self, watcher: ImapWatcher, server: ImapServer
    ) -> None:
        async def examine(session: Session, command: Command) -> None:
            await session.send(
                b"* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 4] x\r\n"
                + command.tag
                + b" OK done\r\n* 5 EXISTS\r\n"
            )

        server.on("EXAMINE", examine)
        async with watching(watcher, scripted(server)) as watch:
            assert await soon(watch.wait()) == 2

    async def test_closing_says_goodbye(self, watcher: ImapWatcher, server: ImapServer) -> None:
        says(server)
        async with watching(watcher, scripted(server)) as watch:
            waiting = await idling(watch)
            watch.close()
            with pytest.raises(ConnectorError):
                await soon(waiting)
        async with asyncio.timeout(20):
            while not any(command.name == "LOGOUT" for command in server.commands):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
