"""Outgoing mails as they enter the store: message, rendition, delivery and recipients at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import CursorResult, update
from sqlmodel import Session, col, select

from activities.ports import ComposedMail
from activities.store.content import ContentStore
from activities.store.insertion import insert_missing
from activities.store.ledger import fence
from activities.store.log import record
from models.account import EmailAccount, UnknownPolicy
from models.addresses import ascii_domain
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
    queued: bool = False


def delivery_id_of(message_id: str) -> str:
    """Id of the delivery of a mail."""
    return derived_id("delivery", message_id)


@dataclass(frozen=True, slots=True)
class Terms:
    """What an account says about trying again."""

    max_attempts: int | None
    """Attempts in all; None = as many as the time allows."""
    give_up_after: timedelta
    unknown_policy: UnknownPolicy


def terms_of(account: EmailAccount) -> Terms:
    """The terms of an account."""
    again = account.max_send_attempts
    return Terms(
        max_attempts=None if again is None else again + 1,
        give_up_after=timedelta(seconds=account.give_up_after_seconds),
        unknown_policy=account.unknown_policy,
    )


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
    delivery_id = delivery_id_of(message.id)
    return Outgoing(
        message_id=message.id,
        internet_message_id=message.internet_message_id or "",
        delivery_id=delivery_id,
        queued=is_queued(session, delivery_id),
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
    terms: Terms | None = None,
    *,
    callbacks: dict[str, Any] | None = None,
    sent_copy: bool = False,
) -> Outgoing:
    """Insert a composed mail; ``content[0]`` holds its bytes.

    ``terms`` are the account's; they bind the queue. A workflow that sends has them in its plan.
    ``callbacks`` are those of the mail as ``StoredCallbacks`` packs them.
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
                "callbacks": callbacks,
                "status": MessageStatus.QUEUED,
                "internet_message_id": mail.internet_message_id,
                **_conversation(mail),
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
            queued=request.queued,
            priority=request.priority,
            next_attempt_at=(request.send_at or now) if request.queued else None,
            expires_at=request.expires_at,
            max_attempts=terms.max_attempts if terms else None,
            give_up_at=max(now, request.send_at or now) + terms.give_up_after if terms else None,
            unknown_policy=request.unknown_policy
            or (terms.unknown_policy if terms else UnknownPolicy.VERIFY),
            dsn=_reports(request),
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
        queued=request.queued,
    )


def is_queued(session: Session, delivery_id: str) -> bool:
    """Whether the queue sends a delivery."""
    return session.exec(select(Delivery.queued).where(Delivery.id == delivery_id)).one()


def _conversation(mail: ComposedMail) -> dict[str, Any]:
    # Left out, a JSON column is NULL; given as None, it would hold a JSON null.
    found: dict[str, Any] = {"in_reply_to": mail.in_reply_to}
    return {**found, "references": list(mail.references)} if mail.references else found


def _reports(request: ComposeInput) -> dict[str, Any] | None:
    asked = request.message.delivery_status
    return None if asked is None else asked.model_dump(mode="json")


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
        # By the domain as it goes over the wire: straße.example and xn--strae-oqa.example are one.
        local = address.rpartition("@")[0]
        first.setdefault(f"{local}@{ascii_domain(address).lower()}", (address, kind))
    return list(first.values())
