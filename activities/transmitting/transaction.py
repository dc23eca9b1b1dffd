"""One SMTP transaction, and what may be said of each recipient whenever it is cut short.

MAIL RCPT DATA body ─► intend ─► "." ─► reply
                       └─ from here to the reply the outcome is unknown if either side dies
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, Protocol, TypeVar

from activities.mail.headers import header_is_ascii
from activities.ports import Metrics, Reply, SmtpFailure, SmtpSession
from activities.store.ledger import AttemptTicket, Verdict
from activities.timing import timed
from models.delivery import Phase, RecipientState
from models.errors import ConnectorError, ErrorType
from models.failure import Failure
from models.metrics import SMTP_PHASE

_ABOUT_THE_MAIL = frozenset({Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.BODY})


T = TypeVar("T", bound=AttemptTicket)
_T_contra = TypeVar("_T_contra", bound=AttemptTicket, contravariant=True)


class Journal(Protocol[_T_contra]):
    """Where it is written down, before the final dot, that the dot comes next."""

    async def intend(self, ticket: _T_contra, accepted: Sequence[int]) -> None:
        """Commit the intent for the recipients ``accepted``; raises ``LeaseLost`` if not ours."""

    async def withdraw(self, ticket: _T_contra) -> None:
        """Take the intent back: the dot was not written and never will be."""


@dataclass(slots=True)
class Progress:
    """What is known about a running attempt, also when it is cut short."""

    phase: Phase = Phase.CONNECT
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    error: Failure | None = None
    at_dot: Sequence[int] = ()
    """Recipients whose outcome is unknown from the dot until the reply."""
    dsn: str | None = None
    """Why reports that were asked for are not asked of the server."""

    def cut_short(self) -> dict[int, Verdict]:
        """Verdicts if nothing more is heard."""
        return {**{n: Verdict(RecipientState.UNKNOWN) for n in self.lost}, **self.verdicts}

    def outcome(self, recipients: Mapping[int, str]) -> dict[int, Verdict]:
        """Verdict on each of ``recipients``.

        Who is undecided was not sent to, which is news when a take-over called it unknown.
        """
        return {**dict.fromkeys(recipients, Verdict(RecipientState.DEFERRED)), **self.cut_short()}

    def failed(self, ticket: AttemptTicket, error: ConnectorError) -> None:
        """Note what ended the attempt."""
        self.phase = getattr(error, "phase", self.phase)
        self.error = Failure.of(error).model_copy(update={"phase": self.phase})
        if self.lost:
            self.verdicts.update(self.cut_short())
        else:
            self.verdicts.update(_refused(ticket, error, self.verdicts))

    @property
    def lost(self) -> Sequence[int]:
        """Recipients of whom nobody can know; in phase BODY the dot has not been sent."""
        return () if self.phase is Phase.BODY else self.at_dot


class Transaction(Generic[T]):
    """Hands one mail after another to a session.

    Args:
        journal: Where intents are committed.
        final_reply: Patience for the reply after the final dot.
        patience_seconds: How long the journal may take before the dot is no longer safe to send:
            somebody may be about to take over.
        metrics: Told how long the phases took.
    """

    def __init__(
        self, journal: Journal[T], final_reply: timedelta, patience_seconds: float, metrics: Metrics
    ) -> None:
        self._journal = journal
        self._final_reply = final_reply
        self._patience_seconds = patience_seconds
        self._metrics = metrics

    async def run(self, session: SmtpSession, ticket: T, raw: bytes, progress: Progress) -> None:
        """One transaction; ``progress`` says what came of it, also when this raises."""
        try:
            await self._run(session, ticket, raw, progress)
        finally:
            # AUTH: the refusal of every recipient was followed by RSET.
            progress.phase = Phase.RCPT if session.phase is Phase.AUTH else session.phase

    async def _run(self, session: SmtpSession, ticket: T, raw: bytes, progress: Progress) -> None:
        if ticket.dsn is not None and ticket.dsn.asked and "DSN" not in session.capabilities:
            progress.dsn = "unavailable"
        ascii_only = raw.isascii()
        with self._timed("envelope"):
            replies = await session.envelope(
                ticket.envelope_from,
                list(ticket.recipients.values()),
                len(raw),
                ascii_only=ascii_only,
                ascii_header=ascii_only or header_is_ascii(raw),
                dsn=ticket.dsn,
                content_follows=True,
            )
        accepted = _sort(ticket.recipients, replies, progress)
        if not accepted:
            await session.reset()
            return
        with self._timed("body"):
            await session.body(raw)
        started = time.monotonic()
        await self._journal.intend(ticket, accepted)
        if time.monotonic() - started > self._patience_seconds:
            # We were asleep (a stopped process, a stalled disk): somebody may be about to take
            # over. Nothing has been sent yet, so step back instead of racing.
            await self._journal.withdraw(ticket)
            raise ConnectorError(
                ErrorType.STORE_UNAVAILABLE, "the store was too slow to send safely; tried again"
            )
        progress.at_dot = accepted
        with self._timed("final_reply"):
            reply = await session.end_of_data(self._final_reply)
        progress.at_dot = ()
        progress.verdicts.update(dict.fromkeys(accepted, verdict_of(reply)))
        if reply.temporary:
            progress.error = _reply_failure(reply, Phase.REPLY)

    def _timed(self, phase: str) -> AbstractContextManager[None]:
        return timed(self._metrics, SMTP_PHASE, phase=phase)


def verdict_of(reply: Reply) -> Verdict:
    """What a reply says about the recipients it is for."""
    state = (
        RecipientState.SENT
        if reply.accepted
        else RecipientState.DEFERRED
        if reply.temporary
        else RecipientState.FAILED
    )
    return Verdict(state, reply.code, reply.enhanced_code, reply.text)


def _sort(
    recipients: Mapping[int, str], replies: Mapping[str, Reply], progress: Progress
) -> list[int]:
    accepted: list[int] = []
    for number, address in recipients.items():
        reply = replies[address]
        if reply.accepted:
            accepted.append(number)
            continue
        progress.verdicts[number] = verdict_of(reply)
        if reply.temporary:
            progress.error = _reply_failure(reply, Phase.RCPT)
    return accepted


def _refused(
    ticket: AttemptTicket, error: ConnectorError, decided: Mapping[int, Verdict]
) -> dict[int, Verdict]:
    """Verdicts for recipients that were not decided when the transaction broke before the dot.

    A reply is about them only once the server was told of the mail: a refused login judges nobody.
    """
    reply: Reply | None = None
    if isinstance(error, SmtpFailure) and error.phase in _ABOUT_THE_MAIL:
        reply = error.reply
    state = RecipientState.DEFERRED if error.temporary or reply is None else RecipientState.FAILED
    verdict = (
        Verdict(state, reply.code, reply.enhanced_code, reply.text) if reply else Verdict(state)
    )
    return {n: verdict for n in ticket.recipients if n not in decided}


def _reply_failure(reply: Reply, phase: Phase) -> Failure:
    return Failure(
        type=ErrorType.SERVER_UNAVAILABLE,
        message="the server asked to try again later",
        explanation="the server asked to try again later",
        temporary=True,
        phase=phase,
        code=reply.code,
        enhanced_code=reply.enhanced_code,
        retry_after_seconds=(int(reply.retry_after.total_seconds()) if reply.retry_after else None),
    )
