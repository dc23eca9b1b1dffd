"""DATA in one group with the envelope (RFC 2920): replies are paired, nobody gets an empty mail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from activities.mail.smtp import ClientSession, SmtpClient
from activities.ports import SmtpFailure
from models.delivery import Phase
from models.errors import ErrorType
from tests.mail.smtp_kit import MAIL, PATIENCE, RCPT, SENDER, endpoint, transact
from tests.smtp_server import SmtpServer

OTHER = "other@x.example"


@asynccontextmanager
async def scripted(*groups: tuple[int, bytes]) -> AsyncIterator[tuple[ClientSession, list[bytes]]]:
    """A session with a server that answers so many lines with so many bytes, group by group."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        for lines, reply in ((1, b"250-hi\r\n250 PIPELINING\r\n"), *groups):
            for _ in range(lines):
                heard.append((await reader.readline()).rstrip())
            writer.write(reply)
        heard.extend((await reader.read()).splitlines())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        session = await SmtpClient().open(endpoint(server.sockets[0].getsockname()[1]))
        heard.clear()
        try:
            yield session, heard
            await session.leave()
            await asyncio.sleep(0.05)
        finally:
            session.abort()


async def envelope(session: ClientSession, *recipients: str) -> list[int]:
    replies = await session.envelope(SENDER, recipients, len(MAIL), content_follows=True)
    return [reply.code for reply in replies.values()]


async def test_data_goes_along_and_the_mail_is_the_same():
    async with SmtpServer() as server:
        async with SmtpClient().session(endpoint(server.port)) as session:
            for _ in range(2):
                assert await envelope(session, RCPT) == [250]
                assert session.phase is Phase.RCPT
                await session.body(MAIL)
                assert session.phase is Phase.BODY
                assert (await session.end_of_data(PATIENCE)).accepted
        assert [mail.content for mail in server.accepted] == [MAIL, MAIL]
        assert server.connections[0].commands.count("DATA") == 2
        assert "RSET" not in server.connections[0].commands


async def test_data_waits_where_the_server_does_not_pipeline():
    async with (
        SmtpServer(extensions=()) as server,
        SmtpClient().session(endpoint(server.port)) as session,
    ):
        await envelope(session, RCPT)
        assert "DATA" not in server.connections[0].commands


async def test_the_replies_of_a_refused_sender_are_all_read():
    async with SmtpServer() as server:
        async with SmtpClient().session(endpoint(server.port)) as session:
            server.replies["MAIL"] = "550 5.7.1 no"
            with pytest.raises(SmtpFailure) as caught:
                await envelope(session, RCPT, OTHER)
            assert caught.value.phase is Phase.MAIL
            assert session.connected
            del server.replies["MAIL"]
            assert (await transact(session)).accepted
        assert len(server.connections) == 1
        assert [mail.content for mail in server.accepted] == [MAIL]


async def test_the_connection_is_good_after_everybody_was_refused():
    async with SmtpServer(recipients={RCPT: 550}) as server:
        async with SmtpClient().session(endpoint(server.port)) as session:
            assert await envelope(session, RCPT) == [550]
            await session.reset()
            assert await envelope(session, OTHER) == [250]
            await session.body(MAIL)
            assert (await session.end_of_data(PATIENCE)).accepted
        assert [mail.rcpts for mail in server.accepted] == [[OTHER]]
        assert len(server.connections) == 1


async def test_a_server_that_wants_content_for_nobody_gets_a_lone_dot():
    refusal = b"250 ok\r\n550 no\r\n354 go\r\n"
    groups = (3, refusal), (1, b"554 nobody\r\n"), (1, b"250 ok\r\n")
    async with scripted(*groups) as (session, heard):
        assert await envelope(session, RCPT) == [550]
        await session.reset()
        assert session.connected
    assert heard[2:] == [b"DATA", b".", b"RSET", b"QUIT"]


async def test_a_lone_dot_answers_a_server_that_refused_everything_but_data():
    groups = (3, b"550 no\r\n503 no\r\n354 go\r\n"), (1, b"554 nobody\r\n")
    async with scripted(*groups) as (session, heard):
        with pytest.raises(SmtpFailure) as caught:
            await envelope(session, RCPT)
        assert caught.value.reply is not None
        assert caught.value.reply.code == 550
        assert session.connected
    assert heard[2:] == [b"DATA", b".", b"QUIT"]


async def test_who_is_accepted_without_a_sender_gets_no_empty_mail():
    async with scripted((3, b"550 no\r\n250 ok\r\n354 go\r\n")) as (session, heard):
        with pytest.raises(SmtpFailure) as caught:
            await envelope(session, RCPT)
        assert caught.value.reply is not None
        assert caught.value.reply.code == 550
        assert not session.connected
    assert heard[2:] == [b"DATA"]


@pytest.mark.parametrize(("code", "temporary"), [(451, True), (554, False)])
async def test_data_refused_is_data_refused(code, temporary):
    groups = (3, b"250 ok\r\n250 ok\r\n%d no\r\n" % code), (1, b"250 ok\r\n")
    async with scripted(*groups) as (session, heard):
        assert await envelope(session, RCPT) == [250]
        with pytest.raises(SmtpFailure) as caught:
            await session.body(MAIL)
        assert (caught.value.phase, caught.value.temporary) == (Phase.DATA, temporary)
        await session.reset()
        assert session.connected
    assert heard[3:] == [b"RSET", b"QUIT"]


async def test_a_reply_too_many_is_not_taken_for_the_next_one():
    async with scripted((3, b"250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n")) as (session, _):
        await envelope(session, RCPT)
        with pytest.raises(SmtpFailure) as caught:
            await session.body(MAIL)
        assert caught.value.phase is Phase.DATA
        assert not session.connected


async def test_an_endless_reply_amidst_the_content_ends_the_session():
    flood = b"250 ok\r\n250 ok\r\n354 go\r\n"
    async with scripted((3, flood), (1, b"250-" + b"x" * 200_000)) as (session, _):
        await envelope(session, RCPT)
        await session.body(MAIL)
        await asyncio.sleep(0.1)
        with pytest.raises(SmtpFailure) as caught:
            await session.end_of_data(PATIENCE)
        assert caught.value.phase is Phase.BODY  # the dot was not sent
        assert not session.connected


async def test_after_data_no_command_but_the_content_is_ever_sent():
    async with scripted((3, b"250 ok\r\n250 ok\r\n354 go\r\n")) as (session, heard):
        await envelope(session, RCPT)
        assert not session.connected  # for another mail
        with pytest.raises(SmtpFailure) as caught:
            await envelope(session, OTHER)
        assert caught.value.type is ErrorType.INTERNAL
    assert heard[2:] == [b"DATA"]
