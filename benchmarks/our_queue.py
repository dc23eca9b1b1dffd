"""The product's queue: filled beforehand, drained by ``SendQueuedEmails``, checked in its store."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from sqlmodel import col, func, select
from temporalio.client import WorkflowHandle

from activities.ports import ComposedMail
from activities.store import operator, outbox
from activities.store.assembly import open_store
from activities.store.content import Piece
from benchmarks import letter
from benchmarks.product import Product
from models.account import AccountSettings
from models.delivery import ComposeInput, MessageStatus
from models.message import EmailMessage
from models.names import TaskQueue, WorkflowType
from models.tables import Delivery

_AT_ONCE = 500


def account(name: str, host: str, port: int, connections: int | None = None) -> AccountSettings:
    """An account that sends as ``NAME@example.org``."""
    return AccountSettings.model_validate(
        {
            "name": name,
            "email_address": sender_of(name),
            "max_connections": connections,
            "outgoing": {"host": host, "port": port, "security": "none", "login": "none"},
        }
    )


def sender_of(name: str) -> str:
    """Whom an account sends as."""
    return f"{name}@example.org"


class OurQueue:
    """The queue of a running product; ``close`` it."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self._store = open_store(product.settings)
        self._number = 0

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def fill(self, account_id: str, mails: int) -> None:
        """Queue composed mails, as ``SendEmail`` with ``queued`` leaves them."""
        with self._store.database.read() as session:
            terms = outbox.terms_of(self._store.accounts.get(session, account_id))
        for begin in range(0, mails, _AT_ONCE):
            with self._store.database.write() as session:
                for _ in range(min(_AT_ONCE, mails - begin)):
                    self._number += 1
                    request, mail = _composed(account_id, self._number)
                    piece = Piece(
                        key=f"{request.message_id}.mail",
                        kind="mail",
                        media_type="message/rfc822",
                        data=mail.raw,
                        message_id=request.message_id,
                    )
                    content = self._store.content.prepare([piece])
                    outbox.insert(session, account_id, request, mail, content, [], terms)

    def sent(self) -> int:
        """Mails that are sent, as the ledger has it."""
        statement = select(func.count()).where(col(Delivery.state) == MessageStatus.SENT)
        with self._store.database.read() as session:
            return session.exec(statement).one()

    def open_mails(self, account_id: str) -> int:
        """Mails of an account that are still to be sent."""
        statement = select(func.count()).where(
            col(Delivery.account_id) == account_id,
            col(Delivery.state).in_((MessageStatus.QUEUED, MessageStatus.SENDING)),
        )
        with self._store.database.read() as session:
            return session.exec(statement).one()

    def pause(self, account_id: str) -> None:
        """Have an account's mail left alone."""
        with self._store.database.write() as session:
            operator.pause(session, account_id)

    def resume(self, account_id: str) -> None:
        """Have it sent again."""
        with self._store.database.write() as session:
            operator.resume(session, account_id)

    async def start(self) -> WorkflowHandle[Any, dict[str, Any]]:
        """Start draining."""
        return await self._product.client.start_workflow(
            WorkflowType.SEND_QUEUED_EMAILS,
            {},
            id=f"queue/{uuid.uuid4()}",
            task_queue=TaskQueue.ORCHESTRATION,
            result_type=dict,
        )

    async def drain(self, mails: int, wait: Callable[[], float]) -> float:
        """Seconds from the start of a drain to the moment that ``wait`` returns.

        Raises:
            RuntimeError: The workflow or the ledger does not say that so many mails were sent.
        """
        before = self.sent()
        started = time.perf_counter()
        handle = await self.start()
        ended = await asyncio.to_thread(wait)
        result = await asyncio.wait_for(handle.result(), 60)
        counted = result["counts"]["sent"], self.sent() - before
        if counted != (mails, mails):
            raise RuntimeError(f"{mails} mails were queued; sent, as we have it: {counted}")
        return ended - started


@asynccontextmanager
async def queue_of(product: Product) -> AsyncIterator[OurQueue]:
    """Open the queue of a product."""
    with contextlib.closing(OurQueue(product)) as queue:
        yield queue


def _composed(account_id: str, number: int) -> tuple[ComposeInput, ComposedMail]:
    now = datetime.now(UTC)
    to = letter.recipient(number)
    request = ComposeInput(
        message_id=str(uuid.uuid4()),
        driver="benchmark",
        date=now,
        account=account_id,
        message=EmailMessage.model_validate(
            {"to": to, "subject": letter.subject(number), "content": letter.HTML}
        ),
        queued=True,
    )
    sender = sender_of(account_id)
    mail = ComposedMail(
        raw=letter.ready(number, sender),
        internet_message_id=f"<{number}.{sender}>",
        envelope_from=sender,
        subject=letter.subject(number),
        sender=sender,
        to=(to,),
    )
    return request, mail
