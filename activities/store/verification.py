"""What the Sent folder can say about a delivery whose outcome is unknown, and what follows.

It holds one thing: whether some mail with our Message-ID is there. That is evidence only as far as
nothing but an attempt in doubt can have put it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, or_
from sqlmodel import Session, col, select

from activities.store import ledger
from activities.store.log import record
from models.account import UnknownPolicy
from models.delivery import OPEN_STATES, HeldReason, MessageStatus, RecipientState, SentCopy
from models.errors import ConnectorError, ErrorType
from models.tables import Attempt, Delivery, Message, Recipient


@dataclass(frozen=True, slots=True)
class Doubt:
    """A delivery with recipients of whom nobody knows whether they got the mail."""

    delivery_id: str
    message_id: str
    account_id: str
    internet_message_id: str
    epoch: int
    verify_at: datetime | None
    """When a mail that is not in the Sent folder counts as absent; None = nobody has looked."""
    verifications: int
    """How often somebody has looked; with the epoch, it tells whether this is still so."""
    settled_if_found: frozenset[int]
    """Recipients whom it reached if it is there; empty when that proves nothing."""


def is_due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Whether a queued delivery is to be looked up now."""
    return (
        col(Delivery.queued).is_(True),
        col(Delivery.state) == MessageStatus.UNKNOWN,
        col(Delivery.unknown_policy) == UnknownPolicy.VERIFY,
        col(Delivery.held_reason).is_(None),
        or_(col(Delivery.verify_at).is_(None), col(Delivery.verify_at) <= now),
    )


def due(session: Session, account_id: str, now: datetime, limit: int) -> list[str]:
    """Queued deliveries of an account that are to be looked up now."""
    return [
        *session.exec(
            select(Delivery.id)
            .where(Delivery.account_id == account_id, *is_due(now))
            .order_by(col(Delivery.verify_at))
            .limit(limit)
        )
    ]


def doubt(session: Session, delivery_id: str) -> Doubt | None:
    """What is in doubt about a delivery; None when nothing is, or a person has to decide."""
    row = session.exec(
        select(Delivery, Message.internet_message_id)
        .join(Message, col(Message.id) == col(Delivery.message_id))
        .where(Delivery.id == delivery_id)
    ).one_or_none()
    if row is None:
        raise ConnectorError(ErrorType.MESSAGE_NOT_FOUND, "the delivery is not in the store")
    delivery, internet_message_id = row
    unknown = session.exec(
        select(Recipient.number).where(
            Recipient.delivery_id == delivery_id, Recipient.state == RecipientState.UNKNOWN
        )
    ).all()
    if not unknown or delivery.held_reason is not None:
        return None
    return Doubt(
        delivery_id=delivery_id,
        message_id=delivery.message_id,
        account_id=delivery.account_id,
        internet_message_id=internet_message_id or "",
        epoch=delivery.epoch,
        verify_at=delivery.verify_at,
        verifications=delivery.verifications,
        settled_if_found=_settled_if_found(session, delivery, unknown),
    )


def held_reason(session: Session, delivery_id: str) -> str | None:
    """Why a delivery waits for a person."""
    return session.exec(select(Delivery.held_reason).where(Delivery.id == delivery_id)).one()


def look_again(session: Session, doubt: Doubt, at: datetime) -> None:
    """Write down when the next look is the last one."""
    if (delivery := _still(session, doubt)) is not None:
        delivery.verify_at = at
        delivery.verifications += 1
        session.add(delivery)


def confirm(session: Session, doubt: Doubt) -> None:
    """It is in the Sent folder: the server took it."""
    if (delivery := _still(session, doubt)) is not None:
        _looked(session, delivery)
        _record(session, doubt, "verified_sent")
        ledger.settle_unknown(session, doubt.delivery_id, doubt.settled_if_found)
        _hold_the_rest(session, delivery, HeldReason.SENT_PROVES_NOTHING)


def reopen(session: Session, doubt: Doubt) -> None:
    """It is not, and would be if the server had taken it: send it again."""
    if (delivery := _still(session, doubt)) is not None:
        _looked(session, delivery)
        _record(session, doubt, "verified_absent")
        ledger.reopen_unknown(session, doubt.delivery_id)
        # Whom the server has refused since then would be refused again.
        _hold_the_rest(session, delivery, HeldReason.NOT_IN_SENT)


def hold(session: Session, doubt: Doubt, reason: HeldReason | ErrorType) -> None:
    """Nobody can tell: it stays unknown until a person decides."""
    if (delivery := _still(session, doubt)) is not None:
        _looked(session, delivery)
        delivery.held_reason = reason
        session.add(delivery)
        _record(session, doubt, "verification_held", reason)


def _record(
    session: Session, doubt: Doubt, event: str, reason: HeldReason | ErrorType | None = None
) -> None:
    error_type = reason if isinstance(reason, ErrorType) else None
    record(
        session,
        event,
        account_id=doubt.account_id,
        message_id=doubt.message_id,
        error_type=error_type,
        reason=None if reason is None else reason.value,
        epoch=doubt.epoch,
    )


def _looked(session: Session, delivery: Delivery) -> None:
    delivery.verify_at = None
    delivery.verifications += 1
    session.add(delivery)
    session.flush()


def _hold_the_rest(session: Session, delivery: Delivery, reason: HeldReason) -> None:
    """Hold what is still unknown, when nothing is left that may be sent."""
    states = session.exec(select(Recipient.state).where(Recipient.delivery_id == delivery.id)).all()
    if RecipientState.UNKNOWN in states and not OPEN_STATES.intersection(states):
        delivery.held_reason = reason
        session.add(delivery)


def _still(session: Session, doubt: Doubt) -> Delivery | None:
    """The delivery, locked, if it is as it was when we went to look; else what we saw is old."""
    delivery = session.exec(
        select(Delivery).where(Delivery.id == doubt.delivery_id).with_for_update()
    ).one()
    unchanged = (
        delivery.epoch == doubt.epoch
        and delivery.held_reason is None
        and delivery.verifications == doubt.verifications
    )
    return delivery if unchanged else None


def _settled_if_found(
    session: Session, delivery: Delivery, unknown: Sequence[int]
) -> frozenset[int]:
    """Unknown recipients that every attempt which may have put a mail there was for."""
    if delivery.sent_copy in (SentCopy.FILED, SentCopy.FOUND):
        return frozenset()
    settled = frozenset(unknown)
    attempts = session.exec(select(Attempt).where(Attempt.delivery_id == delivery.id))
    for attempt in attempts:
        if attempt.outcome == "sent":
            return frozenset()
        if attempt.outcome == "unknown":
            settled &= frozenset(attempt.recipients)
    return settled
