"""The bytes between us and a mail server: bounded in size and time, one command line at a time.

A server is not trusted: it may announce literals it never sends, never end a line, or send a byte
a minute. Everything read is limited here, and nothing that could start a second command leaves.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from io import BytesIO
from typing import ClassVar, Final, Self

from activities.mail.errors import network_failure, server_name
from activities.mail.tls import client_context
from activities.ports import Endpoint, Span, Tracing
from activities.unwatched import NO_TRACING
from models.account import Security
from models.errors import ConnectorError, ErrorType

MAX_LINE: Final = 64 * 1024
CRLF: Final = b"\r\n"
_RECEIVE: Final = 256 * 1024
_SEND: Final = 64 * 1024
_PROGRESS: Final = 16 * 1024
"""Octets of a line or literal that buy another timeout: a slow network passes, a drip does not."""
_LINE_BREAKERS: Final = re.compile(rb"[\r\n\0]")


class Wire:
    """A connection, read by lines and literals. After any failure it is closed and stays so.

    The clock runs from ``restart`` for ``endpoint.timeout``; whoever knows that the server made
    progress restarts it. A timeout for each ``recv`` would let a server answer forever.

    Args:
        endpoint: The server, and how long it may take.
        connection: A connected socket, under TLS where that comes first.
        tracing: Where the commands are written down.
    """

    protocol: ClassVar[str] = "IMAP"

    def __init__(
        self, endpoint: Endpoint, connection: socket.socket, tracing: Tracing = NO_TRACING
    ) -> None:
        self.endpoint = endpoint
        self.closed = False
        self.reserved = False
        """A FETCH is under way: any other command would take its answers."""
        self.received = 0
        self._socket = connection
        self._tracing = tracing
        self._timeout = endpoint.timeout.total_seconds()
        self._deadline = 0.0
        self._buffer = b""
        self._at = 0
        self.restart()

    @classmethod
    def connect(
        cls,
        endpoint: Endpoint,
        tracing: Tracing = NO_TRACING,
        opened: Callable[[Wire], None] | None = None,
    ) -> Self:
        """Open a connection; with security 'tls' the TLS handshake is done (RFC 8314 §3.2).

        ``opened`` is called before that: from then on it can be cut.

        Raises:
            ConnectorError: The host is unknown or unreachable, or TLS failed.
        """
        with tracing.command(cls.protocol.lower(), "(connect)", **_where(endpoint)):
            seconds = endpoint.timeout.total_seconds()
            try:
                connection = socket.create_connection((endpoint.host, endpoint.port), seconds)
            except (OSError, UnicodeError) as exc:
                raise network_failure(exc, endpoint, "connecting") from exc
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire = cls(endpoint, connection, tracing)
            if opened is not None:
                opened(wire)
            if endpoint.security is Security.TLS:
                wire.secure()
            return wire

    def secure(self) -> None:
        """Do the TLS handshake; whatever came before it in clear is forgotten (RFC 9051 §6.2.1)."""
        context = client_context(self.endpoint.check_identity, self.endpoint.ca_file)
        self._buffer, self._at = b"", 0
        try:
            self._socket.settimeout(self._timeout)
            secured = context.wrap_socket(
                self._socket,
                server_hostname=self.endpoint.host,
                do_handshake_on_connect=False,
            )
            self._socket = secured  # before the handshake, so that ``cut`` finds it
            secured.do_handshake()
        except (OSError, ValueError) as exc:
            raise self._lost(exc, "starting TLS") from exc
        self.restart()

    def step(self, verb: str) -> AbstractContextManager[Span]:
        """Trace a command by its verb."""
        return self._tracing.command(self.protocol.lower(), verb, **_where(self.endpoint))

    def restart(self) -> None:
        """Give the server its whole time again."""
        self._deadline = time.monotonic() + self._timeout

    def line(self, limit: int = MAX_LINE) -> bytes:
        """Return the next line without its end.

        Raises:
            ConnectorError: It is longer than ``limit``, or does not end in time.
        """
        return self._line(limit).removesuffix(b"\r")

    def _line(self, limit: int) -> bytes:
        end = self._buffer.find(b"\n", self._at)
        if end >= 0:
            line = self._buffer[self._at : end]
            self._at = end + 1
        else:
            line = self._long_line(limit)
        if len(line) > limit:
            raise self.violation(f"a line has more than {limit} octets")
        return line

    def _long_line(self, limit: int) -> bytes:
        pieces = [self._buffer[self._at :]]
        size, paid = len(pieces[0]), 0
        while size <= limit:
            chunk = self._receive()
            end = chunk.find(b"\n")
            if end >= 0:
                pieces.append(chunk[:end])
                self._buffer, self._at = chunk, end + 1
                break
            pieces.append(chunk)
            size += len(chunk)
            if size - paid >= _PROGRESS:
                paid = size
                self.restart()
        return b"".join(pieces)

    def literal(self, size: int, limit: int, *, patient: bool = False) -> bytes:
        """Return the next ``size`` octets.

        Memory grows with what arrives, not with what was announced.

        Args:
            size: As the server announced it.
            limit: More than this is refused before anything is read.
            patient: Restart the clock while octets keep coming: they are what we asked for.

        Raises:
            ConnectorError: It is too large, or does not come in time.
        """
        if size > limit:
            raise self.violation(f"a literal of {size} octets is announced, {limit} are allowed")
        whole = self._buffer[self._at : self._at + size]
        self._at += len(whole)
        if len(whole) == size:
            return whole
        content = BytesIO()
        content.write(whole)
        missing, paid = size - len(whole), 0
        while missing > 0:
            chunk = self._receive()
            if len(chunk) > missing:
                self._buffer, self._at = chunk, missing
                chunk = chunk[:missing]
            content.write(chunk)
            missing -= len(chunk)
            paid += len(chunk)
            if patient and paid >= _PROGRESS:
                paid = 0
                self.restart()
        return content.getvalue()

    def send(self, data: bytes) -> None:
        """Send a command line, or a part of one.

        The last guard against command injection, whatever let the value through before.

        Raises:
            ConnectorError: ``data`` holds CR, LF or NUL before its end, or sending failed.
        """
        if _LINE_BREAKERS.search(data.removesuffix(CRLF)):
            raise ConnectorError(
                ErrorType.INVALID_INPUT,
                "A value has a line break or a NUL, which would become a command of its own. "
                "Nothing was sent.",
            )
        self._send(data)

    def send_literal(self, data: bytes) -> None:
        """Send octets whose number was announced; the answer to them gets its whole time."""
        view = memoryview(data)
        for start in range(0, len(view), _SEND):
            self._send(view[start : start + _SEND])
        self.restart()

    def close(self) -> None:
        """Drop the connection."""
        self.closed = True
        self._buffer, self._at = b"", 0
        with contextlib.suppress(OSError):
            self._socket.close()

    def cut(self) -> None:
        """Wake, from another thread, whoever waits here: for them the connection is lost."""
        with contextlib.suppress(OSError):
            # Below TLS: its own shutdown would take the session from under the thread that reads.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def violation(self, why: str) -> ConnectorError:
        """Drop the connection to a server that breaks the protocol, and return the error."""
        return self.failure(
            ErrorType.PROTOCOL_VIOLATION, f"the server breaks {self.protocol}: {why}."
        )

    def failure(self, type_: ErrorType, message: str, **detail: str | int | None) -> ConnectorError:
        """Drop the connection and return an error that names the server."""
        self.close()
        return ConnectorError(type_, f"{server_name(self.endpoint)}: {message}", detail=detail)

    def _receive(self) -> bytes:
        self._require_open()
        try:
            self._socket.settimeout(self._remaining())
            chunk = self._socket.recv(_RECEIVE)
            if not chunk:
                raise EOFError
        except (OSError, EOFError) as exc:
            raise self._lost(exc, "waiting for an answer") from exc
        self._buffer, self._at = b"", 0
        self.received += len(chunk)
        return chunk

    def _send(self, data: bytes | memoryview) -> None:
        self._require_open()
        try:
            self._socket.settimeout(self._timeout)
            self._socket.sendall(data)
        except OSError as exc:
            raise self._lost(exc, "sending") from exc

    def _remaining(self) -> float:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining

    def _require_open(self) -> None:
        if self.closed:
            raise ConnectorError(
                ErrorType.CONNECTION_LOST,
                f"{server_name(self.endpoint)}: this connection ended with an earlier failure or "
                "an unfinished fetch.",
            )

    def _lost(self, exc: BaseException, what: str) -> ConnectorError:
        self.close()
        return network_failure(exc, self.endpoint, what)


def _where(endpoint: Endpoint) -> dict[str, str | int]:
    return {"server.address": endpoint.host, "server.port": endpoint.port}
