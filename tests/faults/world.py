"""The product that the cells drive: a real store, the real client, the real activities."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from pydantic import SecretStr
from sqlmodel import Session, select
from temporalio.testing import ActivityEnvironment

from activities.composing import ComposingActivities
from activities.limits import SendingLimits
from activities.mail.smtp import SmtpClient
from activities.mail.smtp_pool import SmtpPool
from activities.ports import RunState
from activities.sending import SendingActivities
from activities.slow_downs import SlowDowns
from activities.store.accounts import Secrets
from activities.store.aside import Aside
from activities.store.assembly import Store, open_store
from activities.store.committer import Committer
from activities.store.content import ATTACHMENT, Piece
from activities.store.readers import Readers
from models.account import AccountSettings, LoginMethod, OutgoingServer
from models.delivery import ComposeInput, DeliveryReport, MessageStatus, SettleInput, TransmitInput
from models.message import Attachment, EmailMessage
from models.settings import Settings
from models.tables import Attempt
from tests.faults.cell import MODES, Cell, Found
from tests.faults.expected import Label
from tests.faults.failing import PASSWORD, USER, Failing
from tests.smtp_server import SmtpServer

T = TypeVar("T")

LARGE_BYTES = 12_000_000
"""Of the attachment in cells of stage ``body``; 16 MB on the wire, more than kernels keep."""
PATIENCE_SECONDS = 4.0
"""For each command and for the reply after the dot."""
_AT_ONCE = 12
_NOTICE_SECONDS = 0.1
_LABELS = {
    MessageStatus.SENT: Label.SENT,
    MessageStatus.QUEUED: Label.TEMPORARY,
    MessageStatus.FAILED: Label.PERMANENT,
    MessageStatus.UNKNOWN: Label.UNKNOWN,
}


class World:
    """Runs cells in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._failing = Failing(folder / "ca")
        self._settings = Settings(
            data_dir=folder / "data",
            ca_file=self._failing.ca_file,
            final_reply_seconds=PATIENCE_SECONDS,
            # A pause of the host would be one for every cell.
            slow_down_seconds=0.001,
            max_slow_down_seconds=0.001,
        )
        self._store: Store = open_store(self._settings)
        self._readers = Readers(self._store.database)
        self._composing = ComposingActivities(
            self._store.database,
            self._store.accounts,
            self._store.content,
            self._store.callbacks,
            self,
            self._settings,
        )
        self._large = self._stored(os.urandom(LARGE_BYTES))
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def close(self) -> None:
        """Close the store."""
        self._readers.close()
        self._store.close()

    def state(self, _workflow_id: str, _first_run_id: str | None = None) -> RunState:
        """Nobody else sends (``activities.ports.Runs``)."""
        return RunState.MISSING

    async def run(self, cell: Cell) -> Found:
        """Send one mail to a server that fails as the cell says."""
        async with self._slots, self._failing.server(cell) as server:
            delivery_id, epoch = await asyncio.to_thread(self._composed, cell, server.port)
            async with self._sending(server, cell) as sending:
                request = TransmitInput(delivery_id=delivery_id, owner=str(cell), epoch=epoch)
                report = await ActivityEnvironment().run(sending.transmit_delivery, request)
                final = report
                if report.open and report.error and not report.error.temporary:
                    # As the workflow does: what is open is tried again, unless for good.
                    settle = SettleInput(delivery_id=delivery_id, error=report.error)
                    final = await asyncio.to_thread(
                        ActivityEnvironment().run, sending.settle_delivery, settle
                    )
            attempt = self._attempt(delivery_id)
            return Found(
                label=_LABELS[final.status],
                outcome=attempt.outcome,
                type=report.error.type if report.error else None,
                code=_code(report),
                phase=attempt.phase,
                accepted=len(server.accepted),
                failed=server.struck.is_set(),
            )

    def _composed(self, cell: Cell, port: int) -> tuple[str, int | None]:
        """An account at ``port`` and a mail of it; id and epoch of the delivery."""
        account = AccountSettings(
            name=str(cell),
            email_address="sender@faults.test",
            outgoing=OutgoingServer(
                host="127.0.0.1",
                port=port,
                security=MODES[cell.mode].security,
                login=LoginMethod.BASIC,
                username=USER,
                connection_timeout_ms=int(PATIENCE_SECONDS * 1000),
            ),
        )
        account_id, message_id = str(uuid4()), str(uuid4())
        with self._store.database.write() as session:
            secrets = Secrets(outgoing=SecretStr(PASSWORD))
            self._store.accounts.add(session, account_id, account, secrets)
        message = EmailMessage.model_validate({"to": "rcpt@faults.test", "content": str(cell)})
        if cell.stage == "body":
            file = Attachment(name="large.bin", content_ref=self._large)
            message = message.model_copy(update={"attachments": [file]})
        request = ComposeInput(
            message_id=message_id,
            driver=str(cell),
            date=datetime.now(UTC),
            account=account_id,
            message=message,
        )
        plan = ActivityEnvironment().run(self._composing.compose_message, request)
        return plan.delivery_id, plan.epoch

    @contextlib.asynccontextmanager
    async def _sending(self, server: SmtpServer, cell: Cell) -> AsyncIterator[SendingActivities]:
        database = self._store.database
        committer = (
            _AfterTheFault(self._store, server)
            if cell.stage == "before_dot"
            else Committer(database)
        )
        aside = Aside(database)
        limits = SendingLimits(aside, self._settings)
        pool = SmtpPool(SmtpClient(), limits, SlowDowns(aside, self._settings))
        try:
            async with aside, limits, pool:
                yield SendingActivities(
                    database,
                    committer,
                    self._readers,
                    self._store.accounts,
                    self._store.content,
                    pool,
                    self._settings,
                )
        finally:
            await asyncio.to_thread(committer.close)

    def _attempt(self, delivery_id: str) -> Attempt:
        with self._store.database.read() as session:
            return session.exec(select(Attempt).where(Attempt.delivery_id == delivery_id)).one()

    def _stored(self, data: bytes) -> str:
        key = "large"
        piece = Piece(key, ATTACHMENT, "application/octet-stream", data)
        rows = self._store.content.prepare([piece])
        with self._store.database.write() as session:
            self._store.content.insert(session, rows)
        return key


class _AfterTheFault(Committer):
    """Whose commit of the intent takes until the server's failure has been heard of.

    Else it would be chance whether a failure before the dot is noticed before the dot.
    """

    def __init__(self, store: Store, server: SmtpServer) -> None:
        super().__init__(store.database)
        self._server = server

    async def commit(self, write: Callable[[Session], T]) -> T:
        result = await super().commit(write)
        if self._server.connections:
            await asyncio.wait_for(self._server.struck.wait(), PATIENCE_SECONDS)
            await asyncio.sleep(_NOTICE_SECONDS)
        return result


def _code(report: DeliveryReport) -> int | None:
    """The server's last word: of the session, or else about the recipient, unless it is a yes."""
    if report.error and report.error.code:
        return report.error.code
    (recipient,) = report.recipients
    return None if recipient.state == "sent" else recipient.code
