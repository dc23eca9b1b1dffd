"""A scriptable IMAP server for what no real server does: lies, floods, cuts and drips.

It answers a small mailbox by itself; ``on`` replaces the answer to a command. It runs in a thread
with its own event loop, so that blocking clients can be tested without one.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

_LITERAL = re.compile(rb"\{(\d+)\+?\}\r\n$")
CAPABILITIES = "IMAP4rev1 SASL-IR AUTH=PLAIN UIDPLUS MOVE ESEARCH"


@dataclass
class Command:
    """A command as received; ``text`` is all behind its name, literals as ``{n}``."""

    tag: bytes
    name: str
    text: bytes
    literals: list[bytes] = field(default_factory=list)


class Session:
    """One client's connection."""

    def __init__(
        self, server: ImapServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send octets as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def start_tls(self) -> None:
        """Do the TLS handshake as its server."""
        assert self.server.context is not None
        await self.writer.start_tls(self.server.context)

    async def read_command(self) -> Command | None:
        """Return the next command with its literals, or None at the end of the connection."""
        text, literals = b"", []
        while True:
            line = await self.reader.readline()
            if not line:
                return None
            self.server.lines.append(line)
            text += line
            literal = _LITERAL.search(line)
            if literal is None:
                break
            await self.send(b"+ go ahead\r\n")
            literals.append(await self.reader.readexactly(int(literal[1])))
        tag, _, rest = text.strip().partition(b" ")
        name, _, rest = rest.partition(b" ")
        if name.upper() == b"UID":
            second, _, rest = rest.partition(b" ")
            name += b" " + second
        return Command(tag, name.decode("latin-1").upper(), rest, literals)


Answer = bytes | Callable[[Session, Command], Awaitable[None]]
"""Octets with ``TAG`` for the command's tag, or what to do."""


class ImapServer:
    """The server; a context manager that starts and stops it.

    Args:
        greeting: What it opens with.
        capabilities: What it announces.
        context: Its side of TLS, for STARTTLS.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        *,
        greeting: bytes = b"* OK ready\r\n",
        capabilities: str = CAPABILITIES,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.greeting = greeting
        self.context = context
        self.lines: list[bytes] = []
        """Every line received, without literals."""
        self.commands: list[Command] = []
        self.port = 0
        self._answers: dict[str, Answer] = {
            "CAPABILITY": b"* CAPABILITY %s\r\nTAG OK done\r\n" % capabilities.encode(),
            "LOGIN": b"TAG OK logged in\r\n",
            "AUTHENTICATE": b"TAG OK logged in\r\n",
            "LIST": b'* LIST (\\HasNoChildren) "/" INBOX\r\nTAG OK done\r\n',
            "SELECT": _selected(b"READ-WRITE"),
            "EXAMINE": _selected(b"READ-ONLY"),
            "UID SEARCH": b'* ESEARCH (TAG "x") UID ALL 1:3\r\nTAG OK done\r\n',
            "UID FETCH": _fetch,
            "LOGOUT": b"* BYE bye\r\nTAG OK done\r\n",
        }
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._started = threading.Event()

    def on(self, name: str, answer: Answer) -> None:
        """Answer the command ``name`` ("UID FETCH", or "GREETING") with ``answer``."""
        self._answers[name] = answer

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
            await session.send(self.greeting)
            while (command := await session.read_command()) is not None:
                self.commands.append(command)
                answer = self._answers.get(command.name, b"TAG OK done\r\n")
                if callable(answer):
                    await answer(session, command)
                else:
                    await session.send(answer.replace(b"TAG", command.tag))
                if command.name == "LOGOUT":
                    break
        writer.close()


def _selected(mode: bytes) -> bytes:
    return (
        b"* 3 EXISTS\r\n* OK [UIDVALIDITY 7] valid\r\n* OK [UIDNEXT 4] next\r\n"
        b"TAG OK [%s] done\r\n" % mode
    )


def mail(uid: int, body: bytes) -> bytes:
    """Return the FETCH response for one mail."""
    return (
        b'* %d FETCH (UID %d RFC822.SIZE %d INTERNALDATE "17-Jul-1996 02:44:25 -0700" '
        b"BODY[] {%d}\r\n%s)\r\n" % (uid, uid, len(body), len(body), body)
    )


async def _fetch(session: Session, command: Command) -> None:
    for part in command.text.split(b" ")[0].split(b","):
        first, _, last = part.partition(b":")
        for uid in range(int(first), int(last or first) + 1):
            if uid <= 3 and b"HEADER.FIELDS" in command.text:
                fields = command.text[command.text.index(b"BODY") :].removesuffix(b")")
                fields = fields.replace(b".PEEK", b"")
                await session.send(b"* %d FETCH (UID %d %s {2}\r\n\r\n)\r\n" % (uid, uid, fields))
            elif uid <= 3:
                await session.send(mail(uid, b"Subject: %d\r\n\r\nbody\r\n" % uid))
    await session.send(command.tag + b" OK done\r\n")
