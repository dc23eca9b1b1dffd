"""A scriptable POP3 server for what no real server does: lies, floods, cuts and drips.

It serves a small maildrop by itself and removes at QUIT what was marked by DELE; ``on`` replaces
the answer to a command. It runs in a thread with its own event loop, so that blocking clients can
be tested without one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Awaitable, Callable
from typing import Self

CAPABILITIES = ("USER", "UIDL", "RESP-CODES", "PIPELINING", "SASL PLAIN")


class Session:
    """One client's connection."""

    def __init__(
        self, server: Pop3Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.mails = list(server.mails)
        """(UIDL, content) as they are when the session begins."""
        self.deleted: list[int] = []
        """Message numbers marked by DELE."""

    async def send(self, data: bytes) -> None:
        """Send octets as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def start_tls(self) -> None:
        """Do the TLS handshake as its server."""
        assert self.server.context is not None
        await self.writer.start_tls(self.server.context)

    def commit(self) -> None:
        """Enter the UPDATE state: remove what is marked (RFC 1939 §6)."""
        for number in self.deleted:
            self.server.mails.remove(self.mails[number - 1])
        self.deleted.clear()


Answer = bytes | Callable[[Session, bytes], Awaitable[None]]
"""Octets as they are, or what to do, with the command's argument."""


def stuffed(content: bytes) -> bytes:
    """Return a mail as it goes over the wire, with the dot that ends it."""
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    if content.startswith(b"."):
        content = b"." + content
    return content.replace(b"\r\n.", b"\r\n..") + b".\r\n"


class Pop3Server:
    """The server; a context manager that starts and stops it.

    Args:
        mails: UIDL and content of each mail.
        capabilities: Lines of CAPA; None = it knows no CAPA.
        context: Its side of TLS, for STLS.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        mails: list[tuple[str, bytes]] | None = None,
        *,
        capabilities: tuple[str, ...] | None = CAPABILITIES,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.mails = mails if mails is not None else some_mails(3)
        self.capabilities = capabilities
        self.context = context
        self.lines: list[bytes] = []
        """Every line received."""
        self.port = 0
        self._answers = dict(_BY_ITSELF)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._started = threading.Event()

    def on(self, name: str, answer: Answer) -> None:
        """Answer the command ``name`` (or "GREETING") with ``answer``."""
        self._answers[name] = answer

    def by_itself(self, name: str) -> None:
        """Answer ``name`` as at first."""
        self._answers[name] = _BY_ITSELF[name]

    @property
    def verbs(self) -> list[str]:
        """The commands received, without what looks like none."""
        return [line.split()[0].decode("latin-1").upper() for line in self.lines if line.strip()]

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, self.host, 0, limit=2**20)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._loop.call_soon(self._started.set)
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        # Transports close in the loop's next turn.
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(self, reader, writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._answer(session, "GREETING", b"")
            while line := await reader.readline():
                self.lines.append(line)
                verb, _, argument = line.strip().partition(b" ")
                name = verb.decode("latin-1").upper()
                await self._answer(session, name, argument)
                if name == "QUIT":
                    break
        writer.close()

    async def _answer(self, session: Session, name: str, argument: bytes) -> None:
        answer = self._answers.get(name, b"+OK\r\n")
        if callable(answer):
            await answer(session, argument)
        else:
            await session.send(answer)


def some_mails(count: int) -> list[tuple[str, bytes]]:
    """Return UIDLs and mails that all differ."""
    return [(f"id-{n}", b"Subject: %d\r\n\r\nbody %d\r\n" % (n, n)) for n in range(1, count + 1)]


async def _capa(session: Session, _argument: bytes) -> None:
    if session.server.capabilities is None:
        await session.send(b"-ERR what is CAPA?\r\n")
        return
    lines = "".join(f"{line}\r\n" for line in session.server.capabilities)
    await session.send(b"+OK\r\n" + lines.encode() + b".\r\n")


async def _auth(session: Session, _argument: bytes) -> None:
    await session.send(b"+ \r\n")
    session.server.lines.append(await session.reader.readline())
    await session.send(b"+OK logged in\r\n")


async def _uidl(session: Session, _argument: bytes) -> None:
    lines = [b"%d %s\r\n" % (n, uidl.encode()) for n, (uidl, _) in enumerate(session.mails, 1)]
    await session.send(b"+OK\r\n" + b"".join(lines) + b".\r\n")


async def _list(session: Session, _argument: bytes) -> None:
    lines = [b"%d %d\r\n" % (n, len(raw)) for n, (_, raw) in enumerate(session.mails, 1)]
    await session.send(b"+OK\r\n" + b"".join(lines) + b".\r\n")


async def _retr(session: Session, argument: bytes) -> None:
    await session.send(b"+OK\r\n" + stuffed(session.mails[int(argument) - 1][1]))


async def _dele(session: Session, argument: bytes) -> None:
    session.deleted.append(int(argument))
    await session.send(b"+OK marked\r\n")


async def _quit(session: Session, _argument: bytes) -> None:
    session.commit()
    await session.send(b"+OK bye\r\n")


_BY_ITSELF: dict[str, Answer] = {
    "GREETING": b"+OK ready\r\n",
    "CAPA": _capa,
    "UIDL": _uidl,
    "LIST": _list,
    "RETR": _retr,
    "DELE": _dele,
    "QUIT": _quit,
    "AUTH": _auth,
}
