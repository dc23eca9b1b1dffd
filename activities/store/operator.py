"""What a person decides about a mail or an account: resend, mark sent, cancel, pause, resume.

Each is a compare-and-set in the ledger like a worker's own steps, stands in the timeline, and does
nothing when it has been done already. Whether a workflow is sending the mail is for the caller to
find out first; the epoch keeps both from sending at once in any case.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import CursorResult, update
from sqlmodel import Session, col, select

from activities.store import ledger, queue
from activities.store.log import record
from models.account import EmailAccount
from models.delivery import OPEN_STATES, DeliveryReport, MessageStatus, RecipientState
from models.errors import ConnectorError, ErrorType
from models.tables import AccountRow, Delivery, Message

OWNER = "operator"
MENDED_BY_A_PERSON = (
    ErrorType.CREDENTIALS_REJECTED,
    ErrorType.ACCOUNT_INCOMPLETE,
    ErrorType.SECRET_UNREADABLE,
)
"""Reasons for holding an account's mails that end when somebody has mended the account."""

_AGAIN = {
    RecipientState.FAILED: RecipientState.PENDING,
    RecipientState.UNKNOWN: RecipientState.PENDING,
}
_AGAIN_ALL = {**_AGAIN, RecipientState.SENT: RecipientState.PENDING}
_ARRIVED = {RecipientState.UNKNOWN: RecipientState.SENT}


def delivery_of(session: Session, message_id: str, *, lock: bool = False) -> Delivery:
    """The delivery of an outgoing mail; raises ``MessageNotFound``."""
    query = select(Delivery).where(Delivery.message_id == message_id)
    found = session.exec(query.with_for_update() if lock else query).first()
    if found is None:
        raise ConnectorError(
            ErrorType.MESSAGE_NOT_FOUND,
            "there is no outgoing mail with this id; 'log mails --direction outgoing' lists them",
            field="message_id",
        )
    return found


def driver_of(session: Session, delivery: Delivery) -> str | None:
    """The workflow chain that sends a mail; None when the queue does, or nobody ever did."""
    if delivery.queued:
        return None
    return session.exec(select(Message.driver).where(Message.id == delivery.message_id)).one()


def resend(
    session: Session, message_id: str, account: EmailAccount, *, again: bool = False
) -> DeliveryReport:
    """Put a mail into the queue for the recipients it was not, or may not have been, sent to.

    Args:
        session: A transaction.
        message_id: The mail.
        account: Its account: limits of attempts and time begin anew.
        again: Also to recipients it was sent to, a second time.

    Raises:
        ConnectorError: ``StateConflict`` when there is nobody to send it to.
    """
    delivery = delivery_of(session, message_id, lock=True)
    found = _states(session, delivery)
    reopened = _AGAIN_ALL if again else _AGAIN
    if not found.intersection(reopened):
        if delivery.queued and found & OPEN_STATES and delivery.held_reason is None:
            return ledger.report(session, delivery.id)
        if not found & OPEN_STATES:
            _refuse_resend(found)
    now = datetime.now(UTC)
    delivery = ledger.convert(session, delivery.id, reopened, owner=OWNER)
    more = account.max_send_attempts
    delivery.max_attempts = None if more is None else delivery.attempts + more + 1
    delivery.give_up_at = now + timedelta(seconds=account.give_up_after_seconds)
    delivery.expires_at = None
    delivery.queued = True
    _release(delivery, now)
    session.add(delivery)
    _record(session, "resent", delivery)
    return ledger.report(session, delivery.id)


def mark_sent(session: Session, message_id: str) -> DeliveryReport:
    """State that a mail of unknown outcome has arrived.

    Raises:
        ConnectorError: ``StateConflict`` when no recipient's outcome is unknown.
    """
    delivery = delivery_of(session, message_id, lock=True)
    found = _states(session, delivery)
    if RecipientState.UNKNOWN not in found:
        if found == {RecipientState.SENT}:
            return ledger.report(session, delivery.id)
        raise _conflict(
            f"the mail is {delivery.state}: no recipient's outcome is unknown, so there is nothing "
            f"to decide; 'log show {message_id}' tells what each server said"
        )
    delivery = ledger.convert(session, delivery.id, _ARRIVED)
    delivery.verify_at = None
    if not _states(session, delivery) & OPEN_STATES:
        delivery.held_reason = None
    session.add(delivery)
    _record(session, "marked_sent", delivery)
    return ledger.report(session, delivery.id)


def cancel(session: Session, message_id: str) -> DeliveryReport:
    """Send a mail to nobody else.

    A transmission that is past its final dot cannot be called back: those recipients become
    ``unknown``, and what the server says about them still counts.

    Raises:
        ConnectorError: ``StateConflict`` when nothing is left to cancel.
    """
    delivery = delivery_of(session, message_id, lock=True)
    if not _states(session, delivery) & OPEN_STATES:
        if delivery.state == MessageStatus.CANCELLED:
            return ledger.report(session, delivery.id)
        if delivery.state == MessageStatus.UNKNOWN:
            raise _conflict(
                "the mail waits for nobody but you: it may have arrived. 'queue mark-sent' says "
                "that it has, 'queue resend' sends it again, and left alone it stays as it is"
            )
        raise _conflict(f"the mail is {delivery.state}: nothing is left to cancel")
    ledger.close(session, delivery.id, None, cancelled=True)
    delivery = delivery_of(session, message_id)
    delivery.next_attempt_at = None
    delivery.leased_until = None
    session.add(delivery)
    _record(session, "cancelled", delivery)
    return ledger.report(session, delivery.id)


def cancelled_elsewhere(session: Session, message_id: str) -> DeliveryReport:
    """Write down that a person had the workflow cancelled that was sending a mail."""
    delivery = delivery_of(session, message_id)
    _record(session, "cancelled", delivery)
    return ledger.report(session, delivery.id)


def pause(session: Session, account_id: str) -> bool:
    """Send nothing for an account until it is resumed; False when it is paused already."""
    row = _account(session, account_id)
    if row.paused_at is not None:
        return False
    row.paused_at = datetime.now(UTC)
    session.add(row)
    record(session, "account_paused", account_id=account_id)
    return True


def resume(session: Session, account_id: str) -> int | None:
    """Let an account send again, also one that was parked until somebody mended it.

    Returns how many mails that were held for it go on; None when there was nothing to resume.
    """
    row = _account(session, account_id)
    reason = row.parked_reason
    resting = row.paused_at is not None or row.parked_at is not None
    row.paused_at = None
    session.add(row)
    session.flush()
    queue.reached(session, account_id)
    session.expire(row)
    reasons = {reason_.value for reason_ in MENDED_BY_A_PERSON} | ({reason} if reason else set())
    result: CursorResult[Any] = session.connection().execute(
        update(Delivery)
        .where(
            col(Delivery.account_id) == account_id,
            col(Delivery.held_reason).in_(reasons),
            col(Delivery.state).in_((MessageStatus.QUEUED, MessageStatus.SENDING)),
        )
        .values(state=MessageStatus.QUEUED, held_reason=None, next_attempt_at=datetime.now(UTC))
    )
    released = result.rowcount
    if not resting and not released:
        return None
    session.expire_all()
    record(session, "account_resumed", account_id=account_id, released=released, reason=reason)
    return released


def _release(delivery: Delivery, now: datetime) -> None:
    delivery.next_attempt_at = now
    delivery.held_reason = None
    delivery.leased_until = None
    delivery.verify_at = None
    delivery.verifications = 0


def _states(session: Session, delivery: Delivery) -> set[RecipientState]:
    return {r.state for r in ledger.report(session, delivery.id).recipients}


def _refuse_resend(found: set[RecipientState]) -> None:
    if RecipientState.SENT in found:
        raise _conflict(
            "the mail was sent to everybody it may go to; --again sends it a second time"
        )
    raise _conflict("the mail was cancelled; send it as a new one")


def _conflict(message: str) -> ConnectorError:
    return ConnectorError(ErrorType.STATE_CONFLICT, message, field="message_id")


def _record(session: Session, event: str, delivery: Delivery) -> None:
    record(
        session,
        event,
        account_id=delivery.account_id,
        message_id=delivery.message_id,
        status=delivery.state,
        epoch=delivery.epoch,
    )


def _account(session: Session, account_id: str) -> AccountRow:
    return session.exec(
        select(AccountRow).where(AccountRow.id == account_id).with_for_update()
    ).one()
