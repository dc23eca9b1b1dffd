"""What is waiting to be sent, for people to look at."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, select

from activities.store.backlog import UNSETTLED
from models.account import UnknownPolicy
from models.base import Payload
from models.delivery import MessageStatus
from models.tables import AccountRow, Delivery, SlowDown


class WaitingMail(Payload):
    """A mail that is not settled, and what it waits for."""

    message_id: str
    account_id: str
    account: str
    status: MessageStatus
    queued: bool
    """Whether the queue sends it; else a workflow does."""
    priority: int
    attempts: int
    next_attempt_at: datetime | None
    expires_at: datetime | None
    why: str | None
    """What it waits for, besides its turn."""


def waiting(
    session: Session, account_id: str | None, status: MessageStatus | None, limit: int
) -> list[WaitingMail]:
    """Mails that are not settled, in the order in which they are sent."""
    query = (
        select(Delivery, AccountRow, SlowDown.until)
        .join(AccountRow, col(AccountRow.id) == col(Delivery.account_id))
        .join(SlowDown, col(SlowDown.scope) == "queue/" + col(Delivery.account_id), isouter=True)
        .where(col(Delivery.state).in_([status] if status else UNSETTLED))
        .order_by(col(Delivery.priority), col(Delivery.next_attempt_at), col(Delivery.id))
        .limit(limit)
    )
    if account_id is not None:
        query = query.where(Delivery.account_id == account_id)
    return [
        WaitingMail(
            message_id=row.message_id,
            account_id=row.account_id,
            account=account.name,
            status=MessageStatus(row.state),
            queued=row.queued,
            priority=row.priority,
            attempts=row.attempts,
            next_attempt_at=row.next_attempt_at,
            expires_at=row.expires_at,
            why=_why(row, account, until),
        )
        for row, account, until in session.exec(query)
    ]


def _why(row: Delivery, account: AccountRow, until: datetime | None) -> str | None:
    if row.held_reason:
        return f"a decision ({row.held_reason})"
    if row.state == MessageStatus.UNKNOWN and row.unknown_policy == UnknownPolicy.VERIFY:
        return "a look into the Sent folder"
    if account.paused_at:
        return "'account resume' (paused)"
    if account.parked_reason:
        return f"'account resume' ({account.parked_reason})"
    if until:
        return f"the server, until {until:%H:%M:%S}"
    return None
