"""A proxy before an IMAP server: sees every command, and judges the store at the very moment a
mail is about to be moved, before the server hears of it.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from models.uid_set import expand

CHANGES = {"STORE", "COPY", "MOVE", "EXPUNGE", "CLOSE", "APPEND", "CREATE", "DELETE", "RENAME"}
"""Commands that change something on the server (CLOSE expunges, RFC 9051 §6.4.1)."""

_COMMAND = re.compile(rb"(\S+) (UID )?([A-Z]+)(?: (.*))?\r\n", re.I | re.S)
_GONE_SOON = {"MOVE", "EXPUNGE"}
_REPLY_DELAY = (0.01, 0.1)

Judge = Callable[[list[int]], Iterable[str]]


@dataclass(frozen=True)
class Command:
    """What a client sent."""

    at: float
    verb: str
    uids: tuple[int, ...]


class ImapWatch:
    """One port in front of one account's server.

    Args:
        port: Of the server.
        judge: Called with UIDs that are about to leave the folder; returns what is wrong.
    """

    def __init__(self, port: int, judge: Judge, rng: random.Random) -> None:
        self.commands: list[Command] = []
        self.findings: list[str] = []
        self.port = 0
        self._upstream = port
        self._judge = judge
        self._random = rng
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; ``port`` is known afterwards and stays when started again."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Drop everything."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def changes(self) -> list[Command]:
        """Commands so far that change something."""
        return [command for command in self.commands if command.verb in CHANGES]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up: asyncio.StreamWriter | None = None
        try:
            down, up = await asyncio.open_connection("127.0.0.1", self._upstream)
            answers = asyncio.create_task(_copy(down, writer))
            try:
                await self._commands(reader, up)
                # A client that died has still said what it said: the server gets to act on it.
                up.write_eof()
                await asyncio.wait({answers}, timeout=5)
            finally:
                answers.cancel()
                await asyncio.gather(answers, return_exceptions=True)
        except OSError:
            pass
        finally:
            for each in (writer, up):
                if each is not None:
                    each.transport.abort()

    async def _commands(self, reader: asyncio.StreamReader, up: asyncio.StreamWriter) -> None:
        # Our client sends literals only with APPEND, which retrieval never uses: lines suffice.
        while line := await reader.readline():
            match = _COMMAND.fullmatch(line)
            if match is not None:
                await self._seen(match[3].decode().upper(), match[4] or b"")
            up.write(line)
            await up.drain()

    async def _seen(self, verb: str, arguments: bytes) -> None:
        uids: list[int] = []
        if verb in CHANGES:
            uids = _uids(arguments)
        if verb in _GONE_SOON:
            self.findings += await asyncio.to_thread(lambda: list(self._judge(uids)))
            await asyncio.sleep(self._random.uniform(*_REPLY_DELAY))
        self.commands.append(Command(time.time(), verb, tuple(uids)))


def _uids(arguments: bytes) -> list[int]:
    ranges: list[tuple[int, int]] = []
    for part in arguments.split(b" ")[0].split(b","):
        first, _, last = part.partition(b":")
        ranges.append((int(first), int(last or first)))
    return list(expand(ranges))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            if not writer.is_closing():
                with suppress(OSError):
                    writer.write(data)
                    await writer.drain()
        # The server is done: so is the conversation, also for a client that waits.
        writer.transport.abort()
