"""Sending over SMTP (RFC 5321, submission RFC 6409), with the final dot in the caller's hand.

``session.phase`` is set right before each step, so after any exception it tells what the server
can know of the mail: before ``Phase.DOT`` it cannot have accepted it; from ``Phase.DOT`` on,
without a reply, nobody can tell. ``Phase.DOT_INTENT`` is the caller's own: its record that the
dot comes next.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from datetime import timedelta

import aiosmtplib

from activities.mail.errors import reply_failure, server_name, smtp_failure
from activities.mail.smtp_data import DataEncoder, encoded_chunks
from activities.mail.smtp_envelope import envelope_commands, rcpt_verdict
from activities.mail.smtp_extensions import Extensions
from activities.mail.smtp_guard import check_ehlo_name, check_endpoint
from activities.mail.smtp_login import log_in
from activities.mail.smtp_wire import AnsweredEarlyError, SmtpWire
from activities.mail.tls import client_context
from activities.ports import DsnRequest, Endpoint, Metrics, Reply, SmtpFailure, Tracing
from activities.timing import timed
from activities.unwatched import NO_METRICS, NO_TRACING
from models.account import Security
from models.delivery import Phase
from models.errors import ErrorType
from models.metrics import SMTP_PHASE

_QUIT_SECONDS = 1.0
_CLOSING = 421


class SmtpClient:
    """Opens sessions (``activities.ports.SmtpTransport``).

    Args:
        ehlo_name: What we call ourselves in EHLO; default: the address literal of the connection,
            which is always true and needs no DNS (RFC 5321 §4.1.3).
        metrics: Told how long the phases took.
        tracing: Where the commands are written down.
    """

    def __init__(
        self,
        ehlo_name: str | None = None,
        *,
        metrics: Metrics = NO_METRICS,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        if ehlo_name is not None:
            check_ehlo_name(ehlo_name)
        self._ehlo_name = ehlo_name
        self._metrics = metrics
        self._tracing = tracing

    @asynccontextmanager
    async def session(self, endpoint: Endpoint) -> AsyncIterator[ClientSession]:
        """Connect, EHLO, STARTTLS as configured, log in; leaving says QUIT or drops the line.

        Raises:
            SmtpFailure: Something of that failed; its phase says what.
        """
        session = await self.open(endpoint)
        try:
            yield session
            await session.leave()
        except Exception:
            await session.leave()
            raise
        finally:  # also when cancelled: then there is no time for courtesies
            session.abort()

    async def open(self, endpoint: Endpoint) -> ClientSession:
        """The same for who ends it himself, by ``leave`` or ``abort``."""
        session = ClientSession(endpoint, self._ehlo_name, self._metrics, self._tracing)
        try:
            await session.open()
        except Exception:
            await session.leave()
            raise
        except BaseException:
            session.abort()
            raise
        return session


class ClientSession:
    """A logged-in connection (``activities.ports.SmtpSession``), good for one mail after another.

    A failure that leaves the conversation in doubt (lost, timed out, cancelled, 421, nonsense)
    closes the connection at once; after a refusal it can be used again.

    Attributes:
        phase: How far the current transaction got; ``Phase.AUTH`` when ready for one.
        capabilities: EHLO keywords in upper case, and AUTH=NAME for each way to log in.
        extensions: The same with its parameters.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        ehlo_name: str | None,
        metrics: Metrics = NO_METRICS,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self.phase = Phase.CONNECT
        self.capabilities: frozenset[str] = frozenset()
        self.extensions = Extensions()
        self._endpoint = endpoint
        self._ehlo_name = ehlo_name
        self._metrics = metrics
        self._tracing = tracing
        self._wire: SmtpWire | None = None
        self._unfinished = False
        self._accepted = 0
        self._asked_for_data = False
        self._encoder: DataEncoder | None = None

    @property
    def connected(self) -> bool:
        """Whether the connection can be used for a further mail."""
        amidst = self._encoder is not None or self._asked_for_data
        return self._wire is not None and self._wire.connected and not amidst

    async def open(self) -> None:
        """Connect, EHLO, STARTTLS as configured, log in."""
        endpoint = self._endpoint
        check_endpoint(endpoint)
        context = None
        if endpoint.security is not Security.NONE:
            context = await asyncio.to_thread(
                client_context, endpoint.check_identity, endpoint.ca_file
            )
        with self._timed("connect"):
            wire = await self._connect(context if endpoint.security is Security.TLS else None)
        if context is not None and endpoint.security is Security.STARTTLS:
            with self._timed("tls"):
                await self._secure(wire, context)
        with self._timed("auth"), self._step(Phase.AUTH):
            await log_in(wire, endpoint, self.extensions.mechanisms)

    async def _connect(self, implicit: ssl.SSLContext | None) -> SmtpWire:
        endpoint = self._endpoint
        with self._step(Phase.CONNECT):
            self._wire = wire = await SmtpWire.connect(
                endpoint.host, endpoint.port, endpoint.timeout, implicit, self._tracing
            )
        with self._step(Phase.BANNER):
            self._expect(await wire.greeting(), 220)
        await self._hello(wire)
        return wire

    async def _secure(self, wire: SmtpWire, context: ssl.SSLContext) -> None:
        with self._step(Phase.STARTTLS):
            if "STARTTLS" not in self.capabilities:
                raise self._failure(
                    ErrorType.TLS_UNAVAILABLE,
                    "the server offers no STARTTLS. Use security 'tls' on the port for it "
                    "(465), or ask the server's administrator; nothing was sent in clear.",
                )
            reply = await wire.starttls(context, self._endpoint.host)
            if not wire.over_tls:  # 220 alone starts TLS; no other reply may pass for it
                raise self._refused(reply)
        # RFC 3207 §4.2: what was announced in clear may be forged; ask again.
        await self._hello(wire)

    async def envelope(
        self,
        sender: str,
        recipients: Sequence[str],
        size: int,
        *,
        ascii_only: bool = True,
        ascii_header: bool | None = None,
        dsn: DsnRequest | None = None,
        content_follows: bool = False,
    ) -> dict[str, Reply]:
        """MAIL, then RCPT for each recipient; the reply to each RCPT by address.

        Args:
            sender: Envelope sender; empty for the null reverse-path (RFC 5321 §4.5.5).
            recipients: Addresses; one that comes twice is named once.
            size: Bytes of the content, for SIZE (RFC 1870).
            ascii_only: The content has no byte above 127.
            ascii_header: Nor has its header section; by default as ``ascii_only``. We compose
                such bytes only into fields that name an international address.
            dsn: What reports are asked for, if the server offers DSN.
            content_follows: ``body`` comes next if anybody is accepted, whoever that is. So DATA
                can go along with the envelope to a server that takes it (RFC 2920).

        Raises:
            SmtpFailure: MAIL was refused, the announced SIZE is too small, a needed extension is
                missing, an address is unfit (then nothing was sent), or the connection failed.
        """
        wire = self._ready()
        if self._unfinished:
            await self.reset()
        self.phase, self._accepted = Phase.MAIL, 0
        commands = envelope_commands(
            self._endpoint,
            self.extensions,
            sender,
            recipients,
            size,
            ascii_only=ascii_only,
            ascii_header=ascii_only if ascii_header is None else ascii_header,
            dsn=dsn,
        )
        mail, rcpts = commands.mail, commands.rcpts
        pipelining = "PIPELINING" in self.capabilities
        self._asked_for_data = pipelining and content_follows
        with self._step(Phase.MAIL):
            if pipelining:
                wire.post([mail, *rcpts.values(), *([b"DATA"] if content_follows else ())])
            answer = await (wire.reply() if pipelining else wire.command(mail))
            if not answer.accepted and pipelining and answer.code != _CLOSING:
                await self._skip(wire, len(rcpts))
            self._expect(answer, 250)
        self._unfinished = True
        replies: dict[str, Reply] = dict(commands.unreachable)
        with self._step(Phase.RCPT):
            for address, command in rcpts.items():
                answer = await (wire.reply() if pipelining else wire.command(command))
                if answer.code == _CLOSING or 300 <= answer.code < 400:
                    raise self._refused(answer)
                answer = rcpt_verdict(answer, self._accepted)
                self._accepted += answer.accepted
                replies[address] = answer
            if self._asked_for_data and not self._accepted:
                await self._decline_data(wire)
        return replies

    async def _skip(self, wire: SmtpWire, rcpts: int) -> None:
        """Read the replies that a refused MAIL leaves: each command has one (RFC 2920 §3.1)."""
        accepted = False
        for _ in range(rcpts):
            accepted |= (await wire.reply()).accepted
        if self._asked_for_data and accepted:
            self.abort()  # A server that refuses MAIL and takes RCPT might take a mail, too.
        elif self._asked_for_data:
            await self._decline_data(wire)

    async def _decline_data(self, wire: SmtpWire) -> None:
        """Nobody was accepted. A server that wants content all the same gets none (RFC 2920)."""
        self._asked_for_data = False
        if (await wire.reply()).code == 354:
            await wire.command(b".")

    async def body(self, content: bytes) -> None:
        """DATA and the whole content, dot-stuffed, without the final dot.

        Raises:
            SmtpFailure: DATA was refused (``Phase.DATA``), or the connection failed or the server
                refused amidst the content (``Phase.BODY``). The mail is not accepted.
        """
        asked, self._asked_for_data = self._asked_for_data, False
        wire = self._ready()
        if not self._accepted:
            raise self._failure(ErrorType.INTERNAL, "no recipient was accepted: there is no mail.")
        with self._step(Phase.DATA):
            self._expect(await (wire.reply() if asked else wire.command(b"DATA")), 354)
        self._encoder = DataEncoder()
        with self._step(Phase.BODY):
            wire.listen()
            with wire.step("(content)") as step:
                step.fact("smtp.size", len(content))
                for chunk in encoded_chunks(content, self._encoder):
                    await wire.write(chunk)

    async def end_of_data(self, patience: timedelta) -> Reply:
        """The final dot; waits up to ``patience`` for the reply (RFC 5321 §4.5.3.2.6: 10 min).

        Returns:
            The server's verdict, also when it refuses (``reply_failure`` names its error type).

        Raises:
            SmtpFailure: In ``Phase.BODY`` the dot was not sent. In ``Phase.DOT`` or
                ``Phase.REPLY`` whether the server has accepted the mail is unknown.
        """
        wire, encoder = self._wire, self._encoder
        if wire is None or encoder is None:
            raise self._failure(ErrorType.INTERNAL, "body() comes before end_of_data().")
        with self._step(Phase.BODY):
            wire.check()
        with self._step(Phase.DOT):
            wire.finish(encoder.terminator)
            if wire.flushed:
                self.phase = Phase.REPLY
            reply = await wire.answer(patience)
            self.phase = Phase.REPLY
            if 300 <= reply.code < 400:
                raise self._refused(reply)
        self.phase, self._encoder, self._unfinished, self._accepted = Phase.DONE, None, False, 0
        if reply.code == _CLOSING:
            self.abort()
        return reply

    async def reset(self) -> None:
        """RSET: forget the transaction (only before ``body``, or after a refused DATA)."""
        wire = self._ready()
        with self._step(Phase.MAIL):
            reply = await wire.command(b"RSET")
            if not reply.accepted:  # RFC 5321 §4.1.1.5 knows no refusal
                self.abort()
                raise self._failure(
                    ErrorType.SERVER_UNAVAILABLE, f"the server refused RSET ({reply.code})."
                )
        self.phase, self._unfinished, self._accepted = Phase.AUTH, False, 0

    async def leave(self) -> None:
        """QUIT after a finished transaction, waiting a second at most; else drop the connection."""
        try:
            if self._wire is not None and self.connected and not self._unfinished:
                limit = min(_QUIT_SECONDS, self._endpoint.timeout.total_seconds())
                # The mail's fate is settled; whatever goes wrong here changes nothing.
                with suppress(OSError, aiosmtplib.SMTPException):
                    await self._wire.command(b"QUIT", limit=limit)
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the socket at once."""
        if self._wire is not None:
            self._wire.abort()

    # --- helpers ----------------------------------------------------------------------------------

    def _timed(self, phase: str) -> AbstractContextManager[None]:
        return timed(self._metrics, SMTP_PHASE, phase=phase)

    @contextmanager
    def _step(self, phase: Phase) -> Iterator[None]:
        self.phase = phase
        try:
            yield
        except AnsweredEarlyError as exc:
            self.abort()
            raise reply_failure(self._endpoint, self.phase, exc.reply) from None
        except SmtpFailure:
            raise
        except (OSError, UnicodeError, aiosmtplib.SMTPException) as exc:
            self.abort()
            # Only what this machine says may become a cause: a peer's text has no bounds.
            cause = exc if isinstance(exc, OSError) else None
            raise smtp_failure(exc, self._endpoint, self.phase) from cause
        except BaseException:
            self.abort()
            raise

    async def _hello(self, wire: SmtpWire) -> None:
        """EHLO, or HELO for a server that knows no extensions (RFC 5321 §3.2)."""
        with self._step(Phase.EHLO):
            name = self._ehlo_name or wire.address_literal
            reply, extensions = await wire.ehlo(name)
            if 500 <= reply.code < 600:
                reply, extensions = await wire.command(b"HELO", name.encode("ascii")), Extensions()
            self._expect(reply, 250)
        self.extensions, self.capabilities = extensions, extensions.capabilities

    def _ready(self) -> SmtpWire:
        if self._asked_for_data:
            self.abort()  # to this server any further command would be content
        if self._wire is None or self._encoder is not None or self._asked_for_data:
            raise self._failure(ErrorType.INTERNAL, "a mail is under way on this session.")
        return self._wire

    def _expect(self, reply: Reply, code: int) -> None:
        """Accept ``code`` and what its class means for it; refuse anything else."""
        if reply.code // 100 != code // 100:
            raise self._refused(reply)

    def _refused(self, reply: Reply) -> SmtpFailure:
        failure = reply_failure(self._endpoint, self.phase, reply)
        if reply.code == _CLOSING or failure.type is ErrorType.PROTOCOL_VIOLATION:
            self.abort()
        return failure

    def _failure(self, type_: ErrorType, message: str) -> SmtpFailure:
        return SmtpFailure(type_, f"{server_name(self._endpoint)}: {message}", phase=self.phase)
