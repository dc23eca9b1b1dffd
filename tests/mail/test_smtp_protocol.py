"""Pins what ``activities.mail.smtp_protocol`` takes from inside aiosmtplib.

A new aiosmtplib that fails here changed something below our own code: look there first.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiosmtplib
import pytest
from aiosmtplib.protocol import MAX_RESPONSE_LENGTH, SMTPProtocol

from activities.mail.smtp_protocol import ClientProtocol


@asynccontextmanager
async def connected(
    greeting: bytes = b"220 hi\r\n",
) -> AsyncIterator[tuple[ClientProtocol, asyncio.StreamReader, asyncio.StreamWriter]]:
    loop = asyncio.get_running_loop()
    peers: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    listener = await asyncio.start_server(lambda *peer: peers.put_nowait(peer), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    _, protocol = await loop.create_connection(lambda: ClientProtocol(loop), "127.0.0.1", port)
    reader, writer = await peers.get()
    writer.write(greeting)
    try:
        if greeting:
            assert (await protocol.read_response(1)).code == 220
        yield protocol, reader, writer
    finally:
        writer.transport.abort()
        if isinstance(protocol.transport, asyncio.WriteTransport):
            protocol.transport.abort()
        listener.close()
        await asyncio.sleep(0.01)


async def test_names_that_we_use_exist():
    protocol = SMTPProtocol(asyncio.get_running_loop())
    assert isinstance(protocol._buffer, bytearray)
    assert protocol._response_pending is False
    assert protocol._response_waiter is None
    assert protocol.transport is None
    assert protocol.is_connected is False
    assert inspect.iscoroutinefunction(protocol._drain_helper)
    assert list(inspect.signature(protocol._read_response_from_buffer).parameters) == []
    assert list(inspect.signature(protocol.read_response).parameters) == ["timeout"]
    assert list(inspect.signature(protocol.execute_command).parameters) == ["args", "timeout"]
    assert list(inspect.signature(protocol.start_tls).parameters) == [
        "tls_context",
        "server_hostname",
        "timeout",
    ]
    assert issubclass(aiosmtplib.SMTPServerDisconnected, ConnectionError)
    assert issubclass(aiosmtplib.SMTPTimeoutError, TimeoutError)


SEGMENTS = [
    [b"250 a\r\n250 b\r\n550 c\r\n"],
    [b"250 a\r\n", b"250 b\r\n", b"550 c\r\n"],
    [b"250 a\r\n25", b"0 b\r\n550", b" c\r\n"],
    [b"250-", b"x\r\n250 a\r\n250-y\r\n", b"250 b\r\n550 c\r", b"\n"],
    [bytes([byte]) for byte in b"250 a\r\n250 b\r\n550 c\r\n"],
]


@pytest.mark.parametrize("segments", SEGMENTS)
@pytest.mark.parametrize("pause", [0.0, 0.01])
async def test_pipelined_replies_are_paired_however_they_are_cut(segments, pause):
    async with connected() as (protocol, reader, writer):
        protocol.post([b"MAIL", b"RCPT", b"RCPT"])
        assert await reader.readexactly(18) == b"MAIL\r\nRCPT\r\nRCPT\r\n"

        async def answer() -> None:
            for segment in segments:
                writer.write(segment)
                await asyncio.sleep(pause)

        answering = asyncio.create_task(answer())
        responses = []
        for _ in range(3):
            responses.append(await protocol.next_response(1))
            await asyncio.sleep(pause)  # the next one may arrive while nobody waits
        await answering
        assert [response.code for response in responses] == [250, 250, 550]
        assert [response.message.split("\n")[-1] for response in responses] == ["a", "b", "c"]
        assert not protocol.has_more
        assert protocol.outstanding == 0


async def test_replies_before_the_end_are_read_before_it():
    async with connected() as (protocol, _, writer):
        protocol.post([b"MAIL", b"RCPT", b"RCPT"])
        writer.write(b"250 a\r\n421 closing\r\n")
        writer.close()
        await asyncio.sleep(0.05)
        assert (await protocol.next_response(1)).code == 250
        assert (await protocol.next_response(1)).code == 421
        with pytest.raises(aiosmtplib.SMTPServerDisconnected):
            await protocol.next_response(1)


async def test_a_second_reply_to_one_command_is_noticed():
    async with connected() as (protocol, _, writer):
        writer_task = asyncio.get_running_loop().call_later(
            0.02, writer.write, b"250 a\r\n354 b\r\n"
        )
        assert (await protocol.execute_command(b"NOOP", timeout=1)).code == 250
        assert protocol.has_more
        writer_task.cancel()


async def test_what_nobody_asked_for_is_dropped():
    async with connected() as (protocol, _, writer):
        writer.write(b"250 unasked\r\n")
        await asyncio.sleep(0.02)
        assert not protocol.has_more
        asyncio.get_running_loop().call_later(0.02, writer.write, b"550 asked\r\n")
        assert (await protocol.execute_command(b"NOOP", timeout=1)).code == 550


async def test_a_reply_can_be_awaited_before_raw_bytes_are_written():
    async with connected() as (protocol, reader, writer):
        answer = asyncio.create_task(protocol.read_response(None))
        await asyncio.sleep(0)
        protocol.write(b"no line end, no reply")
        assert await reader.readexactly(21) == b"no line end, no reply"
        assert not answer.done()
        writer.write(b"250 ok\r\n")
        assert (await answer).code == 250


async def test_drain_waits_and_wakes_when_the_connection_is_lost():
    async with connected() as (protocol, _, writer):
        transport = protocol.transport
        assert isinstance(transport, asyncio.WriteTransport)
        transport.set_write_buffer_limits(high=0)
        protocol.write(b"x" * 50_000_000)
        assert transport.get_write_buffer_size() > 0
        drain = asyncio.create_task(protocol.drain())
        await asyncio.sleep(0.05)
        assert not drain.done()
        writer.transport.abort()
        await asyncio.wait({drain}, timeout=1)
        assert drain.done()
        drain.exception()


@pytest.mark.parametrize(
    "flood", [b"250-" + b"x" * MAX_RESPONSE_LENGTH, b"250-x\r\n" * MAX_RESPONSE_LENGTH]
)
async def test_replies_are_bounded(flood):
    async with connected(b"") as (protocol, _, writer):
        writer.write(flood)
        with pytest.raises(aiosmtplib.SMTPResponseException) as caught:
            await protocol.read_response(5)
        assert caught.value.code == -1
