"""Servers that mean harm end in an error soon, without our memory or our password (S5)."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from models.account import Security
from models.delivery import Phase
from models.errors import MAX_MESSAGE_CHARS, ErrorType
from tests.mail.smtp_kit import basic, deliver, endpoint, failure_of
from tests.smtp_server import SmtpServer

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LIMIT = timedelta(seconds=0.5)


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await script(reader, writer)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(lambda _: writer.transport.abort())

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)


def flood(start: bytes, block: bytes) -> Script:
    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(block)
            await writer.drain()

    return script


def drip(text: bytes) -> Script:
    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            for byte in text:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.02)

    return script


def then(*replies: bytes) -> Script:
    """Each line of the client is answered by the next of ``replies``; the first one greets."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in replies:
            writer.write(reply)
            await reader.readline()
        await asyncio.sleep(60)

    return script


HELLO = b"220 hi\r\n"
CASES = {
    "greeting without end": flood(b"220-", b"x" * 65536),
    "greeting of endless lines": flood(b"", b"220-x\r\n" * 10_000),
    "greeting of NULs": flood(b"", b"\0" * 65536),
    "greeting byte by byte": drip(b"220-hello\r\n"),
    "greeting without a digit": then(b"hello\r\n"),
    "greeting of one digit": then(b"2\r\n"),
    "greeting with a code beyond": then(b"999 x\r\n"),
    "greeting with a negative code": then(b"-22 x\r\n"),
    "greeting 1xx": then(b"120 wait\r\n"),
    "greeting 3xx": then(b"354 x\r\n"),
    "greeting of HTTP": then(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "greeting of TLS": then(b"\x15\x03\x01\x00\x02\x02\x28"),
    "two greetings": then(b"220 a\r\n220 b\r\n"),
    "EHLO of endless lines": then(HELLO, b"250-X\r\n" * 1_000_000),
    "EHLO of one endless line": then(HELLO, b"250-" + b"X" * 10_000_000),
    "EHLO of a long line": then(HELLO, b"250-" + b"X" * 20_000 + b"\r\n250 x\r\n"),
    "EHLO twice": then(HELLO, b"250 x\r\n250 x\r\n"),
    "EHLO not UTF-8, then silence": then(HELLO, b"250-\xff\xfe\r\n250-\x00\x1b[2J\r\n250 \r\n"),
    "EHLO byte by byte": then(HELLO, b"250-AUTH PLAIN\r\n250"),
    "MAIL twice": then(HELLO, b"250 x\r\n", b"250 a\r\n250 b\r\n"),
    "RCPT answered by garbage": then(HELLO, b"250 x\r\n", b"250 a\r\n", b"\xff\xff\xff\r\n"),
    "354 for MAIL": then(HELLO, b"250 x\r\n", b"354 a\r\n"),
    "354 for RCPT": then(HELLO, b"250 x\r\n", b"250 a\r\n", b"354 b\r\n"),
    "250 for DATA": then(HELLO, b"250 x\r\n", b"250 a\r\n", b"250 b\r\n", b"250 c\r\n"),
    "354 and 250 for DATA": then(
        HELLO, b"250 x\r\n", b"250 a\r\n", b"250 b\r\n", b"354 c\r\n250 d\r\n"
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_hostile_servers(case):
    loop = asyncio.get_running_loop()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with scripted(CASES[case]) as port:
        begin = loop.time()
        failure = await failure_of(endpoint(port, timeout=LIMIT))
        assert loop.time() - begin < LIMIT.total_seconds() + 5
    assert failure.temporary
    assert failure.type in (ErrorType.PROTOCOL_VIOLATION, ErrorType.CONNECTION_TIMED_OUT)
    assert len(failure.message) <= MAX_MESSAGE_CHARS
    assert failure.message.isprintable()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024


async def test_no_password_goes_out_in_clear_when_tls_is_asked_for():
    """Replies that pretend, and not one AUTH or MAIL on the wire, with a login or without."""
    lines: list[bytes] = []
    offers = [b"250 AUTH PLAIN\r\n", b"250-AUTH PLAIN LOGIN CRAM-MD5\r\n250 PIPELINING\r\n"]
    upgrades = [b"220 go\r\n", b"220 go\r\n250 AUTH PLAIN\r\n", b"250 done\r\n", b"235 hi\r\n"]

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HELLO)
        for reply in replies:
            lines.append(await reader.readline())
            writer.write(reply)
        lines.append(await reader.read(100_000))

    for offer in offers:
        for starttls in (b"", b"250-x\r\n250-STARTTLS\r\n"):
            for upgrade in upgrades:
                replies = [starttls + offer, upgrade, b"235 welcome\r\n", b"250 ok\r\n"]
                async with scripted(script) as port:
                    for login in (basic(), {}):
                        failure = await failure_of(
                            endpoint(port, timeout=LIMIT, security=Security.STARTTLS, **login)
                        )
                        assert failure.phase is Phase.STARTTLS
    wire = b"".join(lines)
    assert b"EHLO" in wire
    assert b"AUTH" not in wire
    assert b"MAIL" not in wire
    assert b"bite-my-shiny" not in wire


async def test_long_and_ugly_replies_are_cut_and_cleaned():
    ugly = "550 5.7.1 \x1b[31m<b>" + "x" * 3000 + "\u202e\x00"
    async with SmtpServer(replies={"MAIL": ugly}) as server:
        failure = await failure_of(endpoint(server.port))
    assert failure.type is ErrorType.SENDER_REFUSED
    assert failure.reply is not None
    assert len(failure.reply.text) == 500
    assert failure.reply.text.isprintable()
    assert failure.message.isprintable()
    assert len(failure.message) <= MAX_MESSAGE_CHARS


async def test_a_verdict_with_a_farewell_behind_it_counts():
    """ "250 …" and "421 closing" in one segment: accepted, and the connection is of no more use."""
    async with SmtpServer(faults=[]) as server:
        server.replies["RSET"] = "250 ok"
        original = server.accept

        def accept_and_close(sender: str, rcpts: list[str], content: bytes) -> None:
            original(sender, rcpts, content)
            server.connections[-1]._writer.write(b"250 2.0.0 accepted\r\n421 4.3.2 closing\r\n")

        server.accept = accept_and_close  # type: ignore[method-assign]
        assert (await deliver(endpoint(server.port))).accepted
        assert "QUIT" not in server.connections[0].commands
