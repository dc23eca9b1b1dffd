"""Sending: compose once, transmit under the ledger's rules, settle.

compose ─► begin_attempt ─► MAIL RCPT DATA body ─► intend_dot ─► "." ─► reply ─► end_attempt
                                                  └─ from here to the reply the outcome is
                                                     unknown if either side dies
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta

from sqlmodel import Session
from temporalio import activity

from activities.heartbeat import blocking_heartbeats, heartbeats
from activities.ports import (
    Endpoint,
    Metrics,
    Reply,
    SmtpFailure,
    SmtpSession,
    SmtpTransport,
)
from activities.store import ledger
from activities.store.accounts import Accounts
from activities.store.committer import Committer
from activities.store.content import ContentStore
from activities.store.engine import Database
from activities.store.ledger import AttemptTicket, Verdict
from activities.store.readers import Readers
from activities.timing import timed
from activities.unwatched import NO_METRICS
from models.delivery import (
    DeliveryReport,
    Phase,
    RecipientState,
    SettleInput,
    TakeOverInput,
    TransmitInput,
)
from models.errors import ConnectorError, ErrorType
from models.failure import Failure
from models.ids import derived_id
from models.metrics import SMTP_PHASE
from models.names import ActivityName
from models.settings import Settings

_RECORD_RETRY_SECONDS = 0.5
_ABOUT_THE_MAIL = frozenset({Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.BODY})


@dataclass(slots=True)
class _Progress:
    """What is known about a running attempt, also when it is cut short."""

    phase: Phase
    verdicts: dict[int, Verdict]
    error: Failure | None = None
    at_dot: Sequence[int] = ()
    """Recipients whose outcome is unknown from the dot until the reply."""

    def cut_short(self) -> dict[int, Verdict]:
        """Verdicts if nothing more is heard."""
        return {**{n: Verdict(RecipientState.UNKNOWN) for n in self.lost}, **self.verdicts}

    @property
    def lost(self) -> Sequence[int]:
        """Recipients of whom nobody can know; in phase BODY the dot has not been sent."""
        return () if self.phase is Phase.BODY else self.at_dot


class SendingActivities:
    """Activities of ``SendEmail``."""

    def __init__(
        self,
        database: Database,
        committer: Committer,
        readers: Readers,
        accounts: Accounts,
        content: ContentStore,
        transport: SmtpTransport,
        settings: Settings,
        metrics: Metrics = NO_METRICS,
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._committer = committer
        self._readers = readers
        self._accounts = accounts
        self._content = content
        self._transport = transport
        self._settings = settings

    @activity.defn(name=ActivityName.TRANSMIT)
    async def transmit_delivery(self, request: TransmitInput) -> DeliveryReport:
        """One attempt to hand the mail to the server. Never repeated by Temporal."""
        attempt_id = _attempt_id(request.delivery_id)

        async with heartbeats():
            try:
                endpoint, raw = await self._readers.read(
                    lambda s: self._parcel(s, request.delivery_id)
                )
            except ConnectorError as error:
                if error.temporary:
                    raise
                return await self._report(request.delivery_id, Failure.of(error))
            ticket = await self._committer.commit(
                lambda s: ledger.begin_attempt(
                    s, request.delivery_id, attempt_id, request.owner, request.epoch
                )
            )
            if ticket is None:
                return await self._report(request.delivery_id, None)
            progress = _Progress(Phase.CONNECT, {})
            try:
                await self._transmit(ticket, endpoint, raw, progress)
            except BaseException:
                # Told to stop, or a bug of ours: what the server said is written down first.
                await asyncio.shield(self._record(ticket, progress))
                raise
            await self._record(ticket, progress)
        return await self._report(request.delivery_id, progress.error)

    @activity.defn(name=ActivityName.TAKE_OVER, no_thread_cancel_exception=True)
    def take_over_delivery(self, request: TakeOverInput) -> DeliveryReport:
        """Fence off a lost attempt and label what it left behind."""
        with blocking_heartbeats(), self._database.write() as session:
            done = ledger.take_over(session, request.delivery_id, request.owner, request.epoch)
            if done and request.resend_unknown:
                ledger.reopen_unknown(session, request.delivery_id)
            return ledger.report(session, request.delivery_id)

    @activity.defn(name=ActivityName.SETTLE, no_thread_cancel_exception=True)
    def settle_delivery(self, request: SettleInput) -> DeliveryReport:
        """Give up what is still open and state the result."""
        with blocking_heartbeats(), self._database.write() as session:
            ledger.close(session, request.delivery_id, request.error, cancelled=request.cancelled)
            return ledger.report(session, request.delivery_id, request.error)

    def _parcel(self, session: Session, delivery_id: str) -> tuple[Endpoint, bytes]:
        """Where a delivery goes, and its bytes."""
        account_id, content_key = ledger.parcel_of(session, delivery_id)
        _, endpoint = self._accounts.outgoing(session, account_id)
        return endpoint, self._content.read(session, content_key)[1]

    async def _transmit(
        self, ticket: AttemptTicket, endpoint: Endpoint, raw: bytes, progress: _Progress
    ) -> None:
        try:
            async with self._transport.session(endpoint) as session:
                try:
                    await self._transaction(session, ticket, raw, progress)
                finally:
                    progress.phase = session.phase
        except ConnectorError as error:
            progress.phase = getattr(error, "phase", progress.phase)
            progress.error = Failure.of(error).model_copy(update={"phase": progress.phase})
            if progress.lost:
                progress.verdicts.update(progress.cut_short())
            else:
                progress.verdicts.update(_refused(ticket, error, progress.verdicts))

    async def _transaction(
        self, session: SmtpSession, ticket: AttemptTicket, raw: bytes, progress: _Progress
    ) -> None:
        with self._timed("envelope"):
            replies = await session.envelope(
                ticket.envelope_from,
                list(ticket.recipients.values()),
                len(raw),
                ascii_only=raw.isascii(),
            )
        accepted = self._sort(ticket.recipients, replies, progress)
        if not accepted:
            await session.reset()
            return
        with self._timed("body"):
            await session.body(raw)
        started = time.monotonic()
        await self._committer.commit(lambda s: ledger.intend_dot(s, ticket, accepted))
        if time.monotonic() - started > self._settings.heartbeat_timeout_seconds / 2:
            # We were asleep (a stopped process, a stalled disk): somebody may be about to take
            # over. Nothing has been sent yet, so step back instead of racing.
            await self._committer.commit(lambda s: ledger.withdraw_dot(s, ticket))
            raise ConnectorError(
                ErrorType.STORE_UNAVAILABLE, "the store was too slow to send safely; tried again"
            )
        progress.at_dot = accepted
        patience = timedelta(seconds=self._settings.final_reply_seconds)
        with self._timed("final_reply"):
            reply = await session.end_of_data(patience)
        progress.at_dot = ()
        verdict = _verdict(reply)
        progress.verdicts.update(dict.fromkeys(accepted, verdict))
        if reply.temporary:
            progress.error = _reply_failure(reply, Phase.REPLY)

    def _timed(self, phase: str) -> AbstractContextManager[None]:
        return timed(self._metrics, SMTP_PHASE, phase=phase)

    @staticmethod
    def _sort(
        recipients: Mapping[int, str], replies: Mapping[str, Reply], progress: _Progress
    ) -> list[int]:
        accepted: list[int] = []
        for number, address in recipients.items():
            reply = replies[address]
            if reply.accepted:
                accepted.append(number)
                continue
            progress.verdicts[number] = _verdict(reply)
            if reply.temporary:
                progress.error = _reply_failure(reply, Phase.RCPT)
        return accepted

    async def _record(self, ticket: AttemptTicket, progress: _Progress) -> None:
        """Commit the outcome.

        The server's word exists only here, so a store that is away is waited for; giving up would
        turn a known outcome into an unknown one.
        """
        # Who is undecided was not sent to, which is news when a take-over called it unknown.
        undecided = dict.fromkeys(ticket.recipients, Verdict(RecipientState.DEFERRED))
        verdicts = {**undecided, **progress.cut_short()}
        while True:
            try:
                await self._committer.commit(
                    lambda s: ledger.end_attempt(
                        s, ticket, verdicts, progress.phase, progress.error
                    )
                )
            except ConnectorError as error:
                if not error.temporary:
                    raise
                await asyncio.sleep(_RECORD_RETRY_SECONDS)
            else:
                return

    async def _report(self, delivery_id: str, error: Failure | None) -> DeliveryReport:
        return await self._readers.read(lambda s: ledger.report(s, delivery_id, error))


def _attempt_id(delivery_id: str) -> str:
    info = activity.info()
    return derived_id(
        "attempt", delivery_id, info.workflow_run_id or "", info.activity_id, str(info.attempt)
    )


def _verdict(reply: Reply) -> Verdict:
    state = (
        RecipientState.SENT
        if reply.accepted
        else RecipientState.DEFERRED
        if reply.temporary
        else RecipientState.FAILED
    )
    return Verdict(state, reply.code, reply.enhanced_code, reply.text)


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
