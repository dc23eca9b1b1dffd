"""A mail server that answers late, as a program: ``late_server.py PORT MILLISECONDS FILE``.

It takes every mail, keeps none, and writes to ``FILE`` how many it took, by sender. It takes more
mails a second than its delay lets anybody send over a hundred connections.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

_EHLO = b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n"
_END = b"\r\n.\r\n"
_WRITE_SECONDS = 0.005


class _Conversation(asyncio.Protocol):
    """One connection. What arrives while a reply is late waits with it."""

    def __init__(self, delay: float, counts: Counter[str]) -> None:
        self._delay = delay
        self._counts = counts
        self._buffer = bytearray()
        self._sender = ""
        self._in_data = False
        self._late = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            self._say_late(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's name
        self._transport = None

    def _go_on(self) -> None:
        while self._transport is not None and not self._late:
            mark = _END if self._in_data else b"\r\n"
            end = self._buffer.find(mark)
            if end < 0:
                return
            line = bytes(self._buffer[:end])
            del self._buffer[: end + len(mark)]
            if self._in_data:
                self._in_data = False
                self._say_late(b"250 2.0.0 taken\r\n", counted=True)
            else:
                self._command(self._transport, line)

    def _command(self, transport: asyncio.Transport, line: bytes) -> None:
        verb = line[:4].upper()
        if verb == b"EHLO":
            transport.write(_EHLO)
        elif verb == b"DATA":
            self._in_data = True
            transport.write(b"354 go on\r\n")
        elif verb == b"QUIT":
            transport.write(b"221 2.0.0 bye\r\n")
            transport.close()
        else:
            if verb == b"MAIL":
                self._sender = line.partition(b"<")[2].partition(b">")[0].decode("ascii", "replace")
            transport.write(b"250 2.1.0 fine\r\n")

    def _say_late(self, reply: bytes, *, counted: bool = False) -> None:
        def say() -> None:
            self._late = False
            if counted:
                self._counts[self._sender] += 1
            if self._transport is not None:
                self._transport.write(reply)
                self._go_on()

        self._late = True
        asyncio.get_running_loop().call_later(self._delay, say)


async def serve(port: int, delay: float, file: Path) -> None:
    """Serve until the process is told to end; the counts are renewed in ``file``."""
    counts: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: _Conversation(delay, counts), "127.0.0.1", port, backlog=500)
    aside, written = file.with_suffix(".new"), 0
    while True:
        await asyncio.sleep(_WRITE_SECONDS)
        if (total := counts.total()) != written:
            # Renamed, so that nobody reads half of it.
            aside.write_text(json.dumps(counts))
            aside.rename(file)
            written = total


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]) / 1000, Path(sys.argv[3])))
