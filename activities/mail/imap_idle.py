"""Watching folders over IMAP (``FolderWatcher``): several hundred connections on one event loop.

A connection is opened, secured and logged in to on a thread, by the same guarded code as all
others. From then on it costs no thread: its socket is read when the loop says that there is
something to read.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Final

from activities.mail.errors import network_failure, server_name
from activities.mail.imap import ImapMailbox
from activities.mail.imap_idle_dialogue import Dialogue, Goodbye, ViolationError
from activities.mail.imap_login import log_in
from activities.mail.imap_refusal import Status, refusal
from activities.mail.imap_text import folder_name, quoted
from activities.mail.imap_wire import Wire
from activities.mail.imap_wires import Wires
from activities.ports import Endpoint, FolderState, Tracing, WatchTiming
from activities.unwatched import NO_TRACING
from models.account import Security
from models.errors import ConnectorError, ErrorType

_RECEIVE: Final = 16 * 1024
_READS_IN_A_ROW: Final = 16
"""After so many the loop turns to the others first; what is left is read in its next turn."""
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
_UNANSWERED_MS: Final = 45_000
"""TCP gives up on what was sent and not acknowledged for so long (RFC 5482)."""


class ImapWatcher:
    """``activities.ports.FolderWatcher``.

    Args:
        logins: Threads, which is logins at once.
        tracing: Where the commands of logging in are written down.
    """

    def __init__(self, logins: int, tracing: Tracing = NO_TRACING) -> None:
        self._threads = ThreadPoolExecutor(logins, thread_name_prefix="listener-login")
        self._tracing = tracing

    async def open(self, endpoint: Endpoint, folder: str, timing: WatchTiming) -> ImapWatch:
        """Connect, log in and examine the folder; nobody waits longer for it than for a probe."""
        brief = min(endpoint.timeout, timing.reply)
        hurried = replace(endpoint, timeout=brief)
        connection = await _connected(hurried, brief)
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(self._threads, self._log_in, hurried, connection, folder)
        try:
            wire, state, idles = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The thread goes on; what it opens is of no use to anybody.
            opening.add_done_callback(_closed)
            raise
        return ImapWatch(wire, folder, state, timing, idles=idles)

    def close(self) -> None:
        """Take no more logins; those under way end by their timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _log_in(
        self, endpoint: Endpoint, connection: socket.socket, folder: str
    ) -> tuple[WatchedWire, FolderState, bool]:
        wires = _Prepared(connection, self._tracing)
        client = log_in(endpoint, wires)
        try:
            mailbox = ImapMailbox(client)
            state = mailbox.open(folder, read_only=True)
            return wires.wire, state, "IDLE" in mailbox.capabilities
        except BaseException:
            client.leave()
            raise


class WatchedWire(Wire):
    """A wire whose socket can be taken over once it is logged in."""

    def taken(self) -> tuple[socket.socket, bytes]:
        """The socket, made non-blocking, and what was received and not yet read."""
        self._socket.setblocking(False)
        return self._socket, self._buffer[self._at :]


class _Prepared(Wires):
    """One connection that is there already."""

    def __init__(self, connection: socket.socket, tracing: Tracing) -> None:
        super().__init__(tracing)
        self._connection = connection
        self._for = tracing
        self.wire: WatchedWire

    def connect(self, endpoint: Endpoint) -> Wire:
        """Do the TLS handshake where that comes first (RFC 8314 §3.2)."""
        self.wire = WatchedWire(endpoint, self._connection, self._for)
        if endpoint.security is Security.TLS:
            self.wire.secure()
        return self.wire


class ImapWatch:
    """``activities.ports.FolderWatch`` over a logged-in connection."""

    def __init__(
        self,
        wire: WatchedWire,
        folder: str,
        state: FolderState,
        timing: WatchTiming,
        *,
        idles: bool,
    ) -> None:
        self.opened = state
        self._endpoint = wire.endpoint
        self._examine = b"EXAMINE " + quoted(folder_name(folder)).encode("ascii")
        self._timing = timing
        self._idles = idles
        self._idling = b""
        """Tag of the IDLE that is under way."""
        self._begun = 0.0
        self._tags = 0
        self._dialogue = Dialogue(state.exists, state.uid_next, state.uid_validity)
        self._failure: ConnectorError | None = None
        self._heard = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._socket, early = wire.taken()
        self._loop.add_reader(self._socket, self._readable)
        self._guarded(lambda: self._dialogue.feed(early))
        # What TLS has decrypted already, no selector tells of.
        self._readable()

    @property
    def idles(self) -> bool:
        """Whether the server tells by itself."""
        return self._idles

    async def wait(self) -> int:
        """Wait for mail, or for a proof of life (``FolderWatch.wait``)."""
        if arrived := self._news():
            return arrived
        if not self._idles:
            return await self._poll()
        if not self._idling and not await self._begin_idle():
            return self._news()
        left = self._begun + self._timing.probe.total_seconds() - self._loop.time()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0, left)):
                await self._until(lambda: self._dialogue.arrived > 0)
        # A server that tells of mail without end must prove itself all the same.
        if self._loop.time() - self._begun >= self._timing.probe.total_seconds():
            await self._end_idle()
        return self._news()

    def close(self) -> None:
        """Log out without waiting, and disconnect."""
        if self._failure is None:
            self._fail(self._error(ErrorType.CONNECTION_LOST, "the watch is over."), polite=True)

    # --- Commands

    async def _begin_idle(self) -> bool:
        self._dialogue.invited = False
        tag = self._send(b"IDLE")
        answered = await self._answer(
            lambda: self._dialogue.invited or tag in self._dialogue.completed
        )
        if not answered:
            raise self._silent()
        if self._dialogue.invited:
            self._idling, self._begun = tag, self._loop.time()
            self._dialogue.proven()
            return True
        # RFC 2177 §3: a server may refuse at any time. Then we ask instead of being told.
        self._idles = False
        self._dialogue.proven()
        return False

    async def _end_idle(self) -> None:
        tag, self._idling = self._idling, b""
        self._write(b"DONE\r\n")
        await self._completed(tag, "ending IDLE")

    async def _poll(self) -> int:
        await asyncio.sleep(0)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timing.poll.total_seconds()):
                await self._until(lambda: self._dialogue.arrived > 0)
        # Not NOOP, after which some servers keep quiet about new mail: opening the folder anew
        # names its size, and UIDNEXT.
        await self._completed(self._send(self._examine), "looking at the folder")
        return self._news()

    async def _completed(self, tag: bytes, what: str) -> None:
        if not await self._answer(lambda: tag in self._dialogue.completed):
            raise self._silent()
        status = self._dialogue.completed[tag]
        if status.word in ("NO", "BAD"):
            self._fail(refusal(self._endpoint, what, status))
            self._raise()
        if self._dialogue.uid_validity != self.opened.uid_validity:
            self._fail(self._error(ErrorType.CONNECTION_LOST, "the folder was made anew."))
            self._raise()
        self._dialogue.proven()

    async def _answer(self, there: Callable[[], bool]) -> bool:
        try:
            async with asyncio.timeout(self._timing.reply.total_seconds()):
                await self._until(there)
        except TimeoutError:
            return False
        return True

    async def _until(self, there: Callable[[], bool]) -> None:
        while True:
            self._raise()
            if there():
                return
            self._heard.clear()
            await self._heard.wait()

    def _news(self) -> int:
        arrived, self._dialogue.arrived = self._dialogue.arrived, 0
        return arrived

    # --- The socket

    def _send(self, command: bytes) -> bytes:
        self._tags += 1
        tag = b"W%d" % self._tags
        self._write(tag + b" " + command + b"\r\n")
        return tag

    def _write(self, line: bytes) -> None:
        """Send a line at once. Nothing is sent before the last was answered, so it has room."""
        self._raise()
        try:
            whole = self._socket.send(line) == len(line)
        except OSError as exc:  # a socket that takes no more is as dead as one that is closed
            self._fail(network_failure(_lost(exc), self._endpoint, "sending"))
        else:
            if not whole:
                self._fail(network_failure(TimeoutError(), self._endpoint, "sending"))
        self._raise()

    def _readable(self) -> None:
        for _ in range(_READS_IN_A_ROW):
            if self._failure is not None:
                return
            try:
                data = self._socket.recv(_RECEIVE)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                self._fail(network_failure(exc, self._endpoint, "listening"))
                return
            if not data:
                self._fail(network_failure(EOFError(), self._endpoint, "listening"))
                return
            self._guarded(lambda data=data: self._dialogue.feed(data))  # type: ignore[misc]
            self._heard.set()
        if isinstance(self._socket, ssl.SSLSocket) and self._failure is None:
            self._loop.call_soon(self._readable)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except ViolationError as exc:
            why = f"the server breaks IMAP: {exc}."
            self._fail(self._error(ErrorType.PROTOCOL_VIOLATION, why))
        except Goodbye as exc:
            self._fail(self._goodbye(exc.status))

    def _goodbye(self, status: Status) -> ConnectorError:
        return self._error(ErrorType.CONNECTION_LOST, f"the server says goodbye: {status.text}")

    def _silent(self) -> ConnectorError:
        failure = network_failure(TimeoutError(), self._endpoint, "waiting for a sign of life")
        self._fail(failure)
        return failure

    def _fail(self, error: ConnectorError, *, polite: bool = False) -> None:
        """Drop the connection; whoever waits on it hears ``error``."""
        if self._failure is not None:
            return
        self._failure = error
        self._loop.remove_reader(self._socket)
        if polite:
            with suppress(OSError):
                self._socket.send((b"DONE\r\n" if self._idling else b"") + b"Z LOGOUT\r\n")
        with suppress(OSError):
            self._socket.close()
        self._heard.set()

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _error(self, type_: ErrorType, message: str) -> ConnectorError:
        return ConnectorError(type_, f"{server_name(self._endpoint)}: {message}")


async def _connected(endpoint: Endpoint, patience: timedelta) -> socket.socket:
    """Return a connected socket; while the network is away it costs no thread to wait."""
    loop = asyncio.get_running_loop()
    failure: BaseException = OSError()
    try:
        async with asyncio.timeout(patience.total_seconds()):
            found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
            for family, kind, protocol, _, address in found:
                connection = socket.socket(family, kind, protocol)
                try:
                    connection.setblocking(False)
                    _watch_over(connection)
                    await loop.sock_connect(connection, address)
                except OSError as exc:
                    connection.close()
                    failure = exc
                except BaseException:
                    connection.close()
                    raise
                else:
                    return connection
    except (OSError, UnicodeError) as exc:  # TimeoutError is an OSError
        raise network_failure(exc, endpoint, "connecting") from exc
    raise network_failure(failure, endpoint, "connecting") from failure


def _watch_over(connection: socket.socket) -> None:
    """Have the kernel notice a peer that is gone without a word; not all systems can."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (*_KEEPALIVE, ("TCP_USER_TIMEOUT", _UNANSWERED_MS)):
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _closed(opening: asyncio.Future[tuple[WatchedWire, FolderState, bool]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[0].close()


def _lost(exc: OSError) -> BaseException:
    waits = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)
    return TimeoutError() if isinstance(exc, waits) else exc
