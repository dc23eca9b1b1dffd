"""Outgoing mails as they enter the store: message, rendition, delivery and recipients at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import CursorResult, update
from sqlmodel import Session, col, select

from activities.ports import ComposedMail
from activities.store.content import ContentStore
from activities.store.insertion import insert_missing
from activities.store.ledger import fence
from activities.store.log import record
from models.delivery import ComposeInput, MessageStatus, RecipientKind, RecipientState, SentCopy
from models.errors import ConnectorError, ErrorType
from models.ids import derived_id
from models.names import Direction
from models.tables import ContentRow, Delivery, Message, Recipient, Rendition


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A stored outgoing mail."""

    message_id: str
    internet_message_id: str
    delivery_id: str
    account_id: str
    driver: str
    created_at: datetime


def delivery_id_of(message_id: str) -> str:
    """Id of the delivery of a mail."""
    return derived_id("delivery", message_id)


def identity_of(request: ComposeInput) -> str:
    """What makes two requests the same mail: the caller's key, else the run that sends it."""
    if request.idempotency_key is None:
        return request.message_id
    return hashlib.sha256(f"key\x1f{request.idempotency_key}".encode()).hexdigest()


def request_hash(request: ComposeInput) -> str:
    """Hash of what was asked for, to tell a repeated key from a conflicting one."""
    # Without defaults, so that a field added later does not make every old key a conflict.
    asked = request.message.model_dump_json(exclude_defaults=True)
    return hashlib.sha256(asked.encode()).hexdigest()


def find(session: Session, account_id: str, request: ComposeInput) -> Outgoing | None:
    """The mail this request already made; raises ``IdempotencyConflict`` for another content."""
    message = session.exec(
        select(Message).where(
            Message.account_id == account_id,
            Message.direction == Direction.OUTGOING,
            Message.identity == identity_of(request),
        )
    ).one_or_none()
    if message is None:
        return None
    if message.request_hash != request_hash(request):
        raise ConnectorError(
            ErrorType.IDEMPOTENCY_CONFLICT,
            "this key was used for a mail with other content; use a new key",
            field="idempotency_key",
        )
    return Outgoing(
        message_id=message.id,
        internet_message_id=message.internet_message_id or "",
        delivery_id=delivery_id_of(message.id),
        account_id=account_id,
        driver=message.driver or "",
        created_at=message.created_at,
    )


def insert(
    session: Session,
    account_id: str,
    request: ComposeInput,
    mail: ComposedMail,
    content: Sequence[dict[str, Any]],
    used_refs: Sequence[str],
    *,
    sent_copy: bool = False,
) -> Outgoing:
    """Insert a composed mail; ``content[0]`` holds its bytes.

    ``sent_copy``: a copy in the Sent folder is due from us once it is sent.
    """
    now = datetime.now(UTC)
    message_id = request.message_id
    # Two workflows with one idempotency key may get here at once, or two attempts of one: the
    # second one waits for the first one's commit, inserts nothing, and finds that mail.
    is_new = insert_missing(
        session,
        Message,
        [
            {
                "id": message_id,
                "account_id": account_id,
                "direction": Direction.OUTGOING,
                "identity": identity_of(request),
                "request_hash": request_hash(request),
                "driver": request.driver,
                "status": MessageStatus.QUEUED,
                "internet_message_id": mail.internet_message_id,
                "subject": mail.subject[:2000],
                "sender": mail.sender[:1000],
                "to": list(mail.to),
                "cc": list(mail.cc),
                "date": request.date,
                "size": len(mail.raw),
                "attachments": mail.attachments,
                "created_at": now,
            }
        ],
    )
    if not is_new:
        stored = find(session, account_id, request)
        if stored is None:
            raise ConnectorError(ErrorType.INTERNAL, "the mail's id is taken by another mail")
        return stored
    ContentStore.insert(session, content)
    rendition_id = derived_id("rendition", message_id, "mail")
    session.add(
        Rendition(
            id=rendition_id, message_id=message_id, kind="mail", content_key=content[0]["key"]
        )
    )
    session.flush()
    delivery_id = delivery_id_of(message_id)
    session.add(
        Delivery(
            id=delivery_id,
            message_id=message_id,
            account_id=account_id,
            rendition_id=rendition_id,
            envelope_from=mail.envelope_from,
            state=MessageStatus.QUEUED,
            sent_copy=SentCopy.PENDING if sent_copy else None,
        )
    )
    session.flush()
    for number, (address, kind) in enumerate(_recipients(request)):
        session.add(
            Recipient(
                delivery_id=delivery_id,
                number=number,
                address=address,
                kind=kind,
                state=RecipientState.PENDING,
            )
        )
    if used_refs:
        session.connection().execute(
            update(ContentRow)
            .where(col(ContentRow.key).in_(used_refs), col(ContentRow.message_id).is_(None))
            .values(message_id=message_id)
        )
    record(
        session,
        "message_composed",
        account_id=account_id,
        message_id=message_id,
        size=len(mail.raw),
    )
    return Outgoing(
        message_id=message_id,
        internet_message_id=mail.internet_message_id,
        delivery_id=delivery_id,
        account_id=account_id,
        driver=request.driver,
        created_at=now,
    )


def driver_of(session: Session, message_id: str) -> str:
    """The chain that sends a mail."""
    return session.exec(select(Message.driver).where(Message.id == message_id)).one() or ""


def adopt(session: Session, message_id: str, former: str, driver: str) -> bool:
    """Make ``driver`` the chain that sends a mail, unless ``former`` has been replaced already.

    What workers still do for ``former`` is fenced off.
    """
    result: CursorResult[Any] = session.connection().execute(
        update(Message)
        .where(col(Message.id) == message_id, col(Message.driver) == former)
        .values(driver=driver)
    )
    if result.rowcount != 1:
        return False
    fence(session, delivery_id_of(message_id), driver)
    return True


def _recipients(request: ComposeInput) -> list[tuple[str, RecipientKind]]:
    """Envelope recipients, each address once, under the first header that names it."""
    mail = request.message
    named = [
        *((box.address, RecipientKind.TO) for box in mail.to),
        *((box.address, RecipientKind.CC) for box in mail.cc),
        *((box.address, RecipientKind.BCC) for box in mail.bcc),
    ]
    first: dict[str, tuple[str, RecipientKind]] = {}
    for address, kind in named:
        local, _, domain = address.rpartition("@")
        first.setdefault(f"{local}@{domain.lower()}", (address, kind))
    return list(first.values())
