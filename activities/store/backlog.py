"""How much is waiting to be sent, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import func
from sqlmodel import Session, col, select

from models.delivery import MessageStatus
from models.tables import Delivery, Message

UNSETTLED = (MessageStatus.QUEUED, MessageStatus.SENDING, MessageStatus.UNKNOWN)
_DUE = (MessageStatus.QUEUED, MessageStatus.SENDING)


def depth(session: Session) -> dict[MessageStatus, int]:
    """Deliveries that are not settled, by status."""
    # Only these: all others are history, which grows, and an index answers for the rest of them.
    rows = session.exec(
        select(Delivery.state, func.count())
        .where(col(Delivery.state).in_(UNSETTLED))
        .group_by(col(Delivery.state))
    )
    counted = {MessageStatus(state): count for state, count in rows}
    return {status: counted.get(status, 0) for status in UNSETTLED}


def oldest_due_seconds(session: Session) -> float:
    """How long the oldest delivery that may be sent now has been due; 0 when none is."""
    now = datetime.now(UTC)
    planned = session.exec(
        select(func.min(Delivery.next_attempt_at)).where(
            col(Delivery.state).in_(_DUE), col(Delivery.next_attempt_at).is_not(None)
        )
    ).one()
    queued = session.exec(
        select(func.min(Message.created_at))
        .join(Delivery, col(Delivery.message_id) == col(Message.id))
        .where(col(Delivery.state).in_(_DUE), col(Delivery.next_attempt_at).is_(None))
    ).one()
    due = [(now - moment).total_seconds() for moment in (planned, queued) if moment]
    return max(0.0, *due) if due else 0.0
