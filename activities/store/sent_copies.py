"""The copies of sent mails in Sent folders: which are due, and what became of them.

A copy is ``pending`` from the time its mail is stored; it is due once the mail is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, update
from sqlmodel import Session, col, select

from activities.store.log import record
from models.delivery import MessageStatus, SentCopy
from models.errors import ErrorType
from models.tables import Delivery, Message, Rendition

_SENT = (MessageStatus.SENT, MessageStatus.PARTIALLY_SENT)


@dataclass(frozen=True, slots=True)
class DueCopy:
    """A copy that is to be filed."""

    delivery_id: str
    message_id: str
    account_id: str
    internet_message_id: str
    content_key: str
    when: datetime | None
    """When the mail was sent."""


def is_due() -> tuple[ColumnElement[bool], ...]:
    """Whether a queued delivery's copy is due."""
    return (
        col(Delivery.queued).is_(True),
        col(Delivery.sent_copy) == SentCopy.PENDING,
        col(Delivery.state).in_(_SENT),
    )


def due(session: Session, account_id: str, limit: int) -> list[str]:
    """Queued deliveries of an account whose copies are due; other mails' workflows file theirs."""
    return [
        *session.exec(
            select(Delivery.id)
            .where(Delivery.account_id == account_id, *is_due())
            .order_by(Delivery.id)
            .limit(limit)
        )
    ]


def of(session: Session, delivery_ids: Sequence[str]) -> list[DueCopy]:
    """Those of the given deliveries whose copies are due."""
    rows = session.exec(
        select(Delivery, Message, Rendition.content_key)
        .join(Message, col(Message.id) == col(Delivery.message_id))
        .join(Rendition, col(Rendition.id) == col(Delivery.rendition_id))
        .where(
            col(Delivery.id).in_(delivery_ids),
            Delivery.sent_copy == SentCopy.PENDING,
            col(Delivery.state).in_(_SENT),
        )
        .order_by(Delivery.id)
    )
    return [
        DueCopy(
            delivery_id=delivery.id,
            message_id=message.id,
            account_id=delivery.account_id,
            internet_message_id=message.internet_message_id or "",
            content_key=content_key,
            when=message.sent_at,
        )
        for delivery, message, content_key in rows
    ]


def states(session: Session, delivery_ids: Sequence[str]) -> dict[str, SentCopy]:
    """How the copies stand; deliveries without one are left out."""
    rows = session.exec(
        select(Delivery.id, Delivery.sent_copy).where(
            col(Delivery.id).in_(delivery_ids), col(Delivery.sent_copy).is_not(None)
        )
    )
    return {delivery_id: SentCopy(state or "") for delivery_id, state in rows}


def settle(
    session: Session, copy: DueCopy, state: SentCopy, error_type: ErrorType | None = None
) -> None:
    """Write down what became of a copy, unless somebody else has."""
    result: CursorResult[Any] = session.connection().execute(
        update(Delivery)
        .where(col(Delivery.id) == copy.delivery_id, col(Delivery.sent_copy) == SentCopy.PENDING)
        .values(sent_copy=state)
    )
    if result.rowcount == 1:
        record(
            session,
            f"sent_copy_{state}",
            account_id=copy.account_id,
            message_id=copy.message_id,
            error_type=error_type,
        )
