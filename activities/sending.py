"""Sending: compose once, transmit under the ledger's rules, settle.

compose ─► begin_attempt ─► MAIL RCPT DATA body ─► intend_dot ─► "." ─► reply ─► end_attempt
                                                  └─ from here to the reply the outcome is
                                                     unknown if either side dies
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

from sqlmodel import Session
from temporalio import activity

from activities.heartbeat import blocking_heartbeats, heartbeats
from activities.ports import Endpoint, LeasedSession, Metrics, SmtpConnections
from activities.store import ledger
from activities.store.accounts import Accounts
from activities.store.committer import Committer
from activities.store.content import ContentStore
from activities.store.engine import Database
from activities.store.ledger import AttemptTicket
from activities.store.readers import Readers
from activities.transmitting.journal import LedgerJournal
from activities.transmitting.transaction import Progress, Transaction
from activities.unwatched import NO_METRICS
from models.delivery import DeliveryReport, SettleInput, TakeOverInput, TransmitInput
from models.errors import UNTRIED, ConnectorError
from models.failure import Failure
from models.ids import derived_id
from models.names import ActivityName
from models.settings import Settings

_RECORD_RETRY_SECONDS = 0.5


class SendingActivities:
    """Activities of ``SendEmail``."""

    def __init__(
        self,
        database: Database,
        committer: Committer,
        readers: Readers,
        accounts: Accounts,
        content: ContentStore,
        connections: SmtpConnections,
        settings: Settings,
        metrics: Metrics = NO_METRICS,
    ) -> None:
        self._database = database
        self._committer = committer
        self._readers = readers
        self._accounts = accounts
        self._content = content
        self._connections = connections
        self._patience = timedelta(seconds=settings.connection_patience_seconds)
        self._transaction = Transaction(
            LedgerJournal(committer),
            timedelta(seconds=settings.final_reply_seconds),
            settings.heartbeat_timeout_seconds / 2,
            metrics,
        )

    @activity.defn(name=ActivityName.TRANSMIT)
    async def transmit_delivery(self, request: TransmitInput) -> DeliveryReport:
        """One attempt to hand the mail to the server. Never repeated by Temporal.

        It begins with the right to a connection: who waits for one has not tried anything.
        """
        attempt_id = _attempt_id(request.delivery_id)

        async with heartbeats(), AsyncExitStack() as held:
            try:
                account_id, endpoint, raw = await self._readers.read(
                    lambda s: self._parcel(s, request.delivery_id)
                )
                session = await held.enter_async_context(
                    self._connections.lease(account_id, endpoint, self._patience)
                )
            except ConnectorError as error:
                if error.temporary and error.type not in UNTRIED:
                    raise
                return await self._report(request.delivery_id, Failure.of(error))
            ticket = await self._committer.commit(
                lambda s: ledger.begin_attempt(
                    s, request.delivery_id, attempt_id, request.owner, request.epoch
                )
            )
            if ticket is None:
                return await self._report(request.delivery_id, None)
            progress = Progress()
            try:
                await self._transmit(ticket, session, raw, progress)
                await held.aclose()  # the next mail need not wait for our record of this one
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

    def _parcel(self, session: Session, delivery_id: str) -> tuple[str, Endpoint, bytes]:
        """Account of a delivery, where it goes, and its bytes."""
        account_id, content_key = ledger.parcel_of(session, delivery_id)
        _, endpoint = self._accounts.outgoing(session, account_id)
        return account_id, endpoint, self._content.read(session, content_key)[1]

    async def _transmit(
        self, ticket: AttemptTicket, session: LeasedSession, raw: bytes, progress: Progress
    ) -> None:
        try:
            await session.open()
            await self._transaction.run(session, ticket, raw, progress)
        except ConnectorError as error:
            progress.failed(ticket, error)

    async def _record(self, ticket: AttemptTicket, progress: Progress) -> None:
        """Commit the outcome.

        The server's word exists only here, so a store that is away is waited for; giving up would
        turn a known outcome into an unknown one.
        """
        verdicts = progress.outcome(ticket.recipients)
        while True:
            try:
                await self._committer.commit(
                    lambda s: ledger.end_attempt(
                        s, ticket, verdicts, progress.phase, progress.error, dsn=progress.dsn
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
