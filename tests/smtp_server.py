"""An SMTP server for tests: it fails where it is told to and keeps a ledger of what it accepted.

In a test::

    async with SmtpServer(faults=[Fault("reply", "rst")]) as server:
        ...  # server.port, server.accepted, server.connections[0].commands

As a process of its own, for tests that kill things; the port is its first line of output::

    python -m tests.smtp_server --port 0 --ledger FILE --delay-ms 50:500 --fault rcpt:4xx:0.05

The ledger has one JSON object a line, appended before the reply to each final dot that is accepted.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import re
import signal
import socket
import ssl
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Self

from tests.smtp_connection import EXTENSIONS, REFUSALS, WAYS, Connection

_MESSAGE_ID = re.compile(rb"^Message-ID:\s*(\S+)", re.I | re.M)


@dataclass
class Fault:
    """At ``stage`` do ``way`` instead: every time, ``times`` times or at a ``rate``."""

    stage: str
    way: str
    times: int | None = None
    rate: float = 1.0

    def __post_init__(self) -> None:
        if self.stage not in REFUSALS or self.way not in WAYS:
            raise ValueError(f"{self.stage}:{self.way}")


@dataclass
class Accepted:
    """A mail that this server took responsibility for."""

    message_id: str
    sha256: str
    rcpts: list[str]
    sender: str
    time: float
    content: bytes = field(repr=False)

    def line(self) -> str:
        return json.dumps({k: v for k, v in asdict(self).items() if k != "content"}) + "\n"


class SmtpServer:
    """See the module. ``recipients``: a code or a whole reply line by address.

    ``body_after``: octets of the content before stage ``body``. ``buffer``: octets that the kernel
    keeps for a server that does not read (SO_RCVBUF). ``struck`` is set by the first fault.
    ``replies``: what is always said to a verb, or (".") to a mail, which is then not accepted.
    """

    def __init__(
        self,
        *,
        faults: list[Fault] | None = None,
        recipients: dict[str, int | str] | None = None,
        extensions: tuple[str, ...] | None = EXTENSIONS,
        auth: tuple[str, str] | None = None,
        mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN", "CRAM-MD5"),
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        after_starttls: bytes = b"",
        replies: dict[str, str] | None = None,
        delay_ms: tuple[float, float] = (0, 0),
        body_after: int = 0,
        buffer: int | None = None,
        ledger: Path | None = None,
        record: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.faults = list(faults or [])
        self.recipients = dict(recipients or {})
        self.extensions = extensions
        self.auth = auth
        self.mechanisms = mechanisms
        self.tls = tls
        self.implicit_tls = implicit_tls
        self.after_starttls = after_starttls
        self.replies = {verb.upper(): text for verb, text in (replies or {}).items()}
        self.delay_ms = delay_ms
        self.body_after = body_after
        self.struck = asyncio.Event()
        self._buffer = buffer
        self.record = record
        self.host, self.port = host, port
        self.accepted: list[Accepted] = []
        self.connections: list[Connection] = []
        self._ledger_path = ledger
        self._ledger: IO[str] | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._ledger_path is not None:
            self._ledger = self._ledger_path.open("a", encoding="utf-8")
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
        listener = self._server.sockets[0]
        if self._buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        self.port = listener.getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # lets the transports close their sockets
        if self._ledger is not None:
            self._ledger.close()

    def fault(self, stage: str) -> str | None:
        for fault in self.faults:
            if fault.stage == stage and fault.times != 0 and random.random() < fault.rate:
                fault.times = None if fault.times is None else fault.times - 1
                return fault.way
        return None

    def accept(self, sender: str, rcpts: list[str], content: bytes) -> None:
        match = _MESSAGE_ID.search(content)
        mail = Accepted(
            match[1].decode("utf-8", "replace") if match else "",
            hashlib.sha256(content).hexdigest(),
            list(rcpts),
            sender,
            time.time(),
            content if self.record else b"",
        )
        if self._ledger is not None:
            self._ledger.write(mail.line())
            self._ledger.flush()
        if self.record:
            self.accepted.append(mail)

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closed:  # it was on its way in when the listener closed
            writer.transport.abort()
            return
        connection = Connection(self, reader, writer)
        if self.record:
            self.connections.append(connection)
        task = asyncio.get_running_loop().create_task(connection.run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # One that is cancelled before its first step has closed nothing.
        task.add_done_callback(lambda _: writer.transport.abort())


async def _main(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tls = None
    if arguments.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.certificate)
    low, _, high = arguments.delay_ms.partition(":")
    user, _, password = (arguments.auth or "").partition(":")
    async with SmtpServer(
        faults=[
            Fault(stage, way, rate=float(rate[0]) if rate else 1.0)
            for stage, way, *rate in (text.split(":") for text in arguments.fault)
        ],
        recipients={a: int(c) for a, c in (text.split("=") for text in arguments.recipient)},
        extensions=EXTENSIONS if arguments.pipelining else EXTENSIONS[1:],
        auth=(user, password) if user else None,
        tls=tls,
        implicit_tls=arguments.implicit_tls,
        delay_ms=(float(low), float(high or low)),
        ledger=arguments.ledger,
        record=False,
        host=arguments.host,
        port=arguments.port,
    ) as server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        await stop.wait()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ledger", type=Path)
    parser.add_argument("--delay-ms", default="0", help="LOW:HIGH before every reply")
    parser.add_argument("--fault", action="append", default=[], help="STAGE:WAY[:RATE]")
    parser.add_argument("--recipient", action="append", default=[], help="ADDRESS=CODE")
    # Off by default: without it, a client can be killed between MAIL and RCPT.
    parser.add_argument("--pipelining", action="store_true", help="announce PIPELINING")
    parser.add_argument("--auth", help="USER:PASSWORD")
    parser.add_argument("--certificate", help="PEM file with certificate and key: STARTTLS")
    parser.add_argument("--implicit-tls", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(_main(_arguments()))
