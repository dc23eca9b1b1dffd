"""Lines and raw bytes out, replies in: what a session does, in the terms of ``ClientProtocol``."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, cast

import aiosmtplib

from activities.mail.smtp_extensions import Extensions
from activities.mail.smtp_patience import patience
from activities.mail.smtp_protocol import ClientProtocol
from activities.mail.smtp_reply import parse_reply
from activities.ports import Reply, Span, Tracing
from activities.unwatched import NO_TRACING

_HAPPY_EYEBALLS_SECONDS = 0.25  # RFC 8305 §5: an IPv6 black hole must not eat the whole deadline
_VERBS = frozenset({b"HELO", b"AUTH", b"MAIL", b"RCPT", b"DATA", b"RSET", b"QUIT"})
_WITHHELD = "(text withheld: it repeats the credentials)"


class AnsweredEarlyError(Exception):
    """The server replied to the content before it had the final dot, so it cannot have it all."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        super().__init__(reply.code)


class SmtpWire:
    """A connection. Raises what aiosmtplib, asyncio and ssl raise; the session translates."""

    def __init__(
        self,
        protocol: ClientProtocol,
        limit: timedelta,
        tracing: Tracing = NO_TRACING,
        where: Mapping[str, str | int] | None = None,
    ) -> None:
        self._protocol = protocol
        self._tracing = tracing
        self._where = dict(where or {})
        self._posted: deque[str] = deque()
        self._seconds = limit.total_seconds()
        self._secrets: tuple[str, ...] = ()
        self._limit_buffer()

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        limit: timedelta,
        context: ssl.SSLContext | None,
        tracing: Tracing = NO_TRACING,
    ) -> SmtpWire:
        """Connect, with TLS from the first byte when there is a ``context`` (RFC 8314 §3)."""
        options: dict[str, Any] = {}
        if context is not None:
            # Later than the deadline around it, so that a slow handshake is always a TimeoutError.
            handshake = limit.total_seconds() + 1
            options = {"ssl": context, "ssl_handshake_timeout": handshake, "server_hostname": host}
        where: dict[str, str | int] = {"server.address": host, "server.port": port}
        with tracing.command("smtp", "(connect)", **where):
            protocol = await cls._connect(host, port, limit, options)
        return cls(protocol, limit, tracing, where)

    @staticmethod
    async def _connect(
        host: str, port: int, limit: timedelta, options: dict[str, Any]
    ) -> ClientProtocol:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(limit.total_seconds()):
            _, protocol = await loop.create_connection(
                lambda: ClientProtocol(loop),
                host,
                port,
                happy_eyeballs_delay=_HAPPY_EYEBALLS_SECONDS,
                **options,
            )
        return protocol

    @property
    def connected(self) -> bool:
        """Whether the connection still stands, as far as this side has heard."""
        return self._protocol.is_connected

    @property
    def over_tls(self) -> bool:
        """Whether what is written is encrypted."""
        return self._extra("sslcontext") is not None

    @property
    def address_literal(self) -> str:
        """This side's address as an EHLO argument (RFC 5321 §4.1.3); needs no DNS."""
        address = str((self._extra("sockname") or ("127.0.0.1",))[0]).partition("%")[0]
        return f"[IPv6:{address}]" if ":" in address else f"[{address}]"

    def conceal(self, secrets: Sequence[str]) -> None:
        """Withhold every later reply that repeats one of ``secrets``."""
        # Shorter ones are found in any text, and give nothing away by it.
        self._secrets = tuple(secret.casefold() for secret in secrets if len(secret) > 3)

    def step(self, verb: str) -> AbstractContextManager[Span]:
        """Trace a step; whatever is not the verb of a command has to be in brackets."""
        return self._tracing.command("smtp", verb, **self._where)

    async def greeting(self) -> Reply:
        """The reply a server starts with."""
        with self.step("(greeting)") as step:
            limit = patience("(greeting)", self._seconds)
            return _noted(step, self._reply(await self._protocol.read_response(limit)))

    async def command(self, *words: bytes, limit: float | None = None) -> Reply:
        """Send a line and wait for its reply. The words must have passed ``smtp_guard``."""
        with self.step(_verb(words[0])) as step:
            return _noted(step, self._reply(await self._execute(*words, limit=limit)))

    def post(self, lines: Sequence[bytes]) -> None:
        """Send several lines at once (RFC 2920); ``reply`` has to follow once for each."""
        self._posted.extend(_verb(line) for line in lines)
        self._protocol.post(lines)

    async def reply(self) -> Reply:
        """Wait for the reply to the next line that was posted."""
        verb = self._posted.popleft()
        with self.step(verb) as step:
            limit = patience(verb, self._seconds)
            return _noted(step, self._reply(await self._protocol.next_response(limit)))

    async def ehlo(self, name: str) -> tuple[Reply, Extensions]:
        """EHLO: its reply, and the extensions that it announces."""
        with self.step("EHLO") as step:
            response = await self._execute(b"EHLO", name.encode("ascii"))
            return _noted(step, self._reply(response)), Extensions.parse(response.message)

    async def starttls(self, context: ssl.SSLContext, host: str) -> Reply:
        """STARTTLS and the handshake; a refusal is returned.

        What a server sent after its 220 in clear is thrown away by aiosmtplib, or breaks the
        handshake: it is never read as part of the encrypted session. Servers do not send such a
        thing by mistake; somebody between does (CVE-2021-38371), so the session ends there.
        """
        with self.step("STARTTLS") as step:
            try:
                response = await self._protocol.start_tls(context, host, self._seconds)
            except aiosmtplib.SMTPResponseException as exc:
                refusal = aiosmtplib.SMTPResponse(exc.code, exc.message)
                return _noted(step, self._reply(refusal))
            if self._protocol.surplus:
                raise aiosmtplib.SMTPResponseException(response.code, "more than a reply")
            self._limit_buffer()
            return _noted(step, self._reply(response))

    # --- content: listen, write …, finish ---------------------------------------------------------

    def listen(self) -> None:
        """From now on the reply to the content may come; none is missed while writing."""
        self._protocol.expect()

    def check(self) -> None:
        """Raise when the connection is lost or the server has answered already."""
        response = self._protocol.arrived()
        if response is not None:
            raise AnsweredEarlyError(self._reply(response))
        if not self.connected:
            raise ConnectionResetError

    async def write(self, data: bytes) -> None:
        """Write raw bytes; returns once the kernel (or the TLS layer above it) has them all."""
        self.check()
        self._protocol.write(data)
        if self.flushed:
            return
        async with asyncio.timeout(patience("(content)", self._seconds)):
            while self._protocol.congested:
                await self._protocol.drain()
                self.check()

    def finish(self, dot: bytes) -> None:
        """Hand over the final dot. ``check`` has to come right before."""
        self._protocol.write(dot)

    @property
    def flushed(self) -> bool:
        """Whether the kernel has all that was written."""
        transport = cast("asyncio.WriteTransport | None", self._protocol.transport)
        return transport is not None and transport.get_write_buffer_size() == 0

    async def answer(self, patience: timedelta) -> Reply:
        """Wait for the reply to the content."""
        with self.step("(final reply)") as step:
            response = await self._protocol.next_response(patience.total_seconds())
            return _noted(step, self._reply(response, last=True))

    # --- end --------------------------------------------------------------------------------------

    def abort(self) -> None:
        """Close the socket at once, whatever is still to be written."""
        if self._protocol.transport is not None:
            cast("asyncio.WriteTransport", self._protocol.transport).abort()

    # --- helpers ----------------------------------------------------------------------------------

    async def _execute(self, *words: bytes, limit: float | None = None) -> aiosmtplib.SMTPResponse:
        limit = limit or patience(_verb(words[0]), self._seconds)
        return await self._protocol.execute_command(*words, timeout=limit)

    def _reply(self, response: aiosmtplib.SMTPResponse, *, last: bool = False) -> Reply:
        if not 200 <= response.code <= 599:
            raise aiosmtplib.SMTPResponseException(response.code, "no SMTP reply code")
        if self._protocol.has_more and not self._protocol.outstanding:
            # A second reply to one command would be taken for the reply to the next one. After the
            # last reply of a transaction the verdict stands, but the connection is of no more use.
            if not last:
                raise aiosmtplib.SMTPResponseException(response.code, "more than one reply")
            self.abort()
        reply = parse_reply(response.code, response.message)
        text = response.message.casefold()
        if any(secret in text for secret in self._secrets):
            reply = Reply(reply.code, _WITHHELD, reply.enhanced_code)
        return reply

    def _extra(self, key: str) -> Any:
        transport = self._protocol.transport
        return None if transport is None else transport.get_extra_info(key)

    def _limit_buffer(self) -> None:
        # No high-water mark: "written" means that the kernel has it, so that the final dot never
        # overtakes a failure of the content before it.
        transport = cast("asyncio.WriteTransport | None", self._protocol.transport)
        if transport is not None:
            transport.set_write_buffer_limits(high=0)


def _verb(line: bytes) -> str:
    """The verb of a command line. An answer to a challenge holds a secret and has none."""
    verb = line.partition(b" ")[0]
    return verb.decode("ascii") if verb in _VERBS else "(answer)"


def _noted(step: Span, reply: Reply) -> Reply:
    step.fact("smtp.reply_code", reply.code)
    return reply
