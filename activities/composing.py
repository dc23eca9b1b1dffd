"""Composing: the mail is built once, and every attempt sends these bytes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from sqlmodel import Session
from temporalio import activity

from activities.heartbeat import blocking_heartbeats
from activities.mail.compose import compose, new_internet_message_id
from activities.ports import Runs, RunState
from activities.providers.registry import KNOWN, Providers
from activities.store import ledger, outbox, threads
from activities.store.accounts import Accounts
from activities.store.callbacks import StoredCallbacks
from activities.store.content import ATTACHMENT, ContentStore, Piece
from activities.store.engine import Database
from models.account import EmailAccount
from models.delivery import ComposeInput, DeliveryReport, SendPlan, WatchInput, WatchResult
from models.errors import ConnectorError, ErrorType
from models.ids import parts_of_chain
from models.message import Attachment
from models.names import ActivityName
from models.settings import Settings


class ComposingActivities:
    """The first activity of ``SendEmail``."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        content: ContentStore,
        callbacks: StoredCallbacks,
        runs: Runs,
        settings: Settings,
        providers: Providers = KNOWN,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._content = content
        self._callbacks = callbacks
        self._runs = runs
        self._settings = settings
        self._providers = providers

    @activity.defn(name=ActivityName.COMPOSE, no_thread_cancel_exception=True)
    def compose_message(self, request: ComposeInput) -> SendPlan:
        """Build the mail once and store it; a repeated request meets what it stored before."""
        with blocking_heartbeats():
            with self._database.read() as session:
                account, _ = self._accounts.outgoing(session, request.account)
                known = outbox.find(session, account.id, request)
                files = [] if known else self._attachments(session, request.message.attachments)
            if known is None:
                known = self._store(account, request, files)
            driver = not known.queued and self._drives(known.message_id, request.driver)
            with self._database.read() as session:
                report = ledger.report(session, known.delivery_id)
            return self._plan(account, request, known, report, driver=driver)

    @activity.defn(name=ActivityName.WATCH, no_thread_cancel_exception=True)
    def watch_delivery(self, request: WatchInput) -> WatchResult:
        """What became of a mail that another workflow sends, and whether it is ours by now."""
        with blocking_heartbeats():
            with self._database.read() as session:
                queued = outbox.is_queued(session, request.delivery_id)
            driver = not queued and self._drives(request.message_id, request.driver)
            with self._database.read() as session:
                return WatchResult(
                    report=ledger.report(session, request.delivery_id), driver=driver
                )

    def _attachments(self, session: Session, attachments: Sequence[Attachment]) -> list[bytes]:
        return [self._file(session, number, a) for number, a in enumerate(attachments)]

    def _file(self, session: Session, number: int, attachment: Attachment) -> bytes:
        if attachment.content_ref is not None:
            try:
                row, data = self._content.read(session, attachment.content_ref)
            except ConnectorError as error:
                raise _unusable(error, number) from None
            if row.kind != ATTACHMENT:
                # A reference is to a file stored for sending, never to a piece of stored mail:
                # whoever may send must not be able to read what others received.
                missing = ConnectorError(ErrorType.CONTENT_NOT_FOUND, "no file has this reference")
                raise _unusable(missing, number)
            return data
        try:
            return base64.b64decode(attachment.content or "", validate=True)
        except (binascii.Error, ValueError):
            raise ConnectorError(
                ErrorType.INVALID_INPUT,
                "this is not base64",
                field=f"message.attachments.{number}.content",
            ) from None

    def _store(
        self, account: EmailAccount, request: ComposeInput, files: Sequence[bytes]
    ) -> outbox.Outgoing:
        sender = request.message.from_address
        with self._database.read() as session:
            parent = threads.parent_of(session, request.message)
        mail = compose(
            request.message,
            account_address=account.email_address,
            full_name=account.full_name,
            internet_message_id=new_internet_message_id(
                request.message_id, sender.address if sender else account.email_address
            ),
            date=request.date,
            attachments=files,
            parent=parent,
        )
        key = f"{request.message_id}.mail"
        rows = self._content.prepare(
            [Piece(key, "mail", "message/rfc822", mail.raw, request.message_id)]
        )
        refs = [a.content_ref for a in request.message.attachments if a.content_ref]
        told = self._callbacks.pack(request.callbacks)
        with self._database.write() as session:
            return outbox.find(session, account.id, request) or outbox.insert(
                session,
                account.id,
                request,
                mail,
                rows,
                refs,
                outbox.terms_of(account),
                callbacks=told,
                sent_copy=self._providers.copy_is_ours(account),
            )

    def _drives(self, message_id: str, driver: str) -> bool:
        """Whether ``driver`` sends the mail; one whose sender is over is taken over."""
        with self._database.read() as session:
            current = outbox.driver_of(session, message_id)
        if current == driver:
            return True
        if self._runs.state(*parts_of_chain(current)) is RunState.RUNNING:
            return False
        with self._database.write() as session:
            return outbox.adopt(session, message_id, current, driver)

    def _plan(
        self,
        account: EmailAccount,
        request: ComposeInput,
        known: outbox.Outgoing,
        report: DeliveryReport,
        *,
        driver: bool,
    ) -> SendPlan:
        settings = self._settings
        timeout = account.outgoing.connection_timeout_ms / 1000 if account.outgoing else 20.0
        return SendPlan(
            message_id=known.message_id,
            internet_message_id=known.internet_message_id,
            account_id=account.id,
            delivery_id=known.delivery_id,
            unknown_policy=request.unknown_policy or account.unknown_policy,
            max_attempts=outbox.terms_of(account).max_attempts,
            give_up_after_seconds=account.give_up_after_seconds,
            first_attempt_at=known.created_at,
            retry_delays_seconds=settings.retry_delays_seconds,
            retry_jitter=settings.retry_jitter,
            max_retry_delay_seconds=settings.max_retry_delay_seconds,
            heartbeat_timeout_seconds=settings.heartbeat_timeout_seconds,
            # Every command has its own limit; this one only ends what none of them foresaw.
            transmit_timeout_seconds=settings.connection_patience_seconds
            + settings.final_reply_seconds
            + 600
            + 1100 * timeout,
            epoch=report.epoch,
            driver=driver,
            report=report if known.queued else None,
            send_at=request.send_at,
            expires_at=request.expires_at,
            sent_copy=self._providers.copy_is_ours(account),
        )


def _unusable(error: ConnectorError, number: int) -> ConnectorError:
    return ConnectorError(
        error.type, error.message, field=f"message.attachments.{number}.content_ref"
    )
