"""Servers that fail in a cell's way: ``tests.smtp_server``, or less than a server."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from models.account import Security
from tests.faults.cell import MODES, Cell
from tests.smtp_server import Fault, SmtpServer
from tools.servers.ca import Certificate, TestCA

USER, PASSWORD = "bender", "bite-my-shiny"
BODY_AFTER = 2_000_000
"""Octets of the content that have arrived when its transfer fails."""
_KERNEL_BUFFER = 256 * 1024


class Failing:
    """Certificates, and what is made with them."""

    def __init__(self, folder: Path) -> None:
        authority = TestCA(folder)
        self.ca_file = authority.ca_file
        self._ours = _context(authority.issue())
        self._elsewhere = _context(authority.wrong_host())

    @asynccontextmanager
    async def server(self, cell: Cell) -> AsyncIterator[SmtpServer]:
        """A server of the cell's mode that fails in its way; ``port`` is where to connect."""
        mode = MODES[cell.mode]
        tls = None
        if mode.security is not Security.NONE:
            tls = self._elsewhere if cell.way == "certificate" else self._ours
        server = SmtpServer(
            faults=[] if cell.way == "certificate" else [Fault(cell.stage, cell.way)],
            extensions=mode.extensions,
            auth=(USER, PASSWORD),
            tls=tls,
            implicit_tls=mode.security is Security.TLS,
            body_after=BODY_AFTER,
            buffer=_KERNEL_BUFFER,
        )
        async with AsyncExitStack() as stack:
            match cell.stage, cell.way:
                case "connect", "rst":
                    server.port = stack.enter_context(_nobody())
                    server.struck.set()
                case "connect", "hang":
                    server.port = stack.enter_context(_deaf())
                    server.struck.set()
                case _:
                    await stack.enter_async_context(server)
                    if cell.way == "certificate":
                        server.struck.set()
            yield server


def _context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.chain, certificate.key)
    return context


@contextmanager
def _nobody() -> Iterator[int]:
    """A port that is taken, so that nobody else comes to listen there."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextmanager
def _deaf() -> Iterator[int]:
    """A port whose backlog is full: the kernel answers no SYN."""
    with socket.socket() as listener, socket.socket() as filler:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        filler.connect(listener.getsockname())
        yield listener.getsockname()[1]
