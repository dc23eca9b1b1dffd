"""The ledger of sending. Every change of who may transmit is a compare-and-set on the epoch.

begin_attempt  bumps the epoch: whoever held the older one can commit nothing more
intend_dot     must succeed before the final dot is written
end_attempt    the outcome; after a take-over it counts only as late evidence
take_over      labels what a lost attempt left behind: intent without outcome is "unknown"

The workflow that sends a mail names the epoch it knows, so that a step of it which was frozen and
comes late is told from the one that is wanted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import CursorResult, or_, update
from sqlmodel import Session, col, select

from activities.ports import DsnRequest
from activities.store.log import record
from activities.store.tallies import tally
from models.delivery import (
    OPEN_STATES,
    DeliveryReport,
    MessageStatus,
    Phase,
    RecipientKind,
    RecipientResult,
    RecipientState,
    SentCopy,
)
from models.delivery_status import Notify, ReturnContent
from models.errors import ConnectorError, ErrorType
from models.failure import Failure
from models.metrics import ATTEMPTS, DELIVERIES, RECIPIENTS
from models.tables import Attempt, Delivery, Message, Recipient, Rendition

_SENT, _NOT_SENT, _UNKNOWN = "sent", "not_sent", "unknown"
_PERMANENT_CODE = 500
_OPEN_VALUES = [state.value for state in OPEN_STATES]


@dataclass(frozen=True, slots=True)
class AttemptTicket:
    """The right to transmit once, as long as nobody bumps the epoch."""

    attempt_id: str
    delivery_id: str
    message_id: str
    account_id: str
    epoch: int
    envelope_from: str
    recipients: Mapping[int, str]
    """Addresses still open, by their number."""
    dsn: DsnRequest | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The server's word about one recipient."""

    state: RecipientState
    code: int | None = None
    enhanced_code: str | None = None
    reply: str | None = None


def parcel_of(session: Session, delivery_id: str) -> tuple[str, str]:
    """Account of a delivery and key of the bytes it sends."""
    row = session.exec(
        select(Delivery.account_id, Rendition.content_key)
        .join(Rendition, col(Rendition.id) == col(Delivery.rendition_id))
        .where(Delivery.id == delivery_id)
    ).one_or_none()
    if row is None:
        raise ConnectorError(ErrorType.MESSAGE_NOT_FOUND, "the delivery is not in the store")
    return row[0], row[1]


def begin_attempt(
    session: Session, delivery_id: str, attempt_id: str, owner: str, epoch: int | None = None
) -> AttemptTicket | None:
    """Fence off whoever was sending and take the delivery; None when nobody is left to send to.

    Raises:
        ConnectorError: ``LeaseLost`` when the delivery is not at ``epoch`` any more: we come
            late, or one of ours who was late is in the way.
    """
    if epoch is not None and _locked(session, delivery_id).epoch != epoch:
        raise _lost()
    delivery = fence(session, delivery_id, owner)
    open_recipients = [r for r in _recipients(session, delivery_id) if r.state in _OPEN_VALUES]
    if not open_recipients:
        return None
    delivery.state = MessageStatus.SENDING
    delivery.attempts += 1
    session.add(delivery)
    session.add(
        Attempt(
            id=attempt_id,
            delivery_id=delivery_id,
            rendition_id=delivery.rendition_id,
            epoch=delivery.epoch,
            owner=owner,
            recipients=[r.number for r in open_recipients],
            phase=Phase.CONNECT,
            started_at=datetime.now(UTC),
        )
    )
    _set_message_status(session, delivery.message_id, MessageStatus.SENDING)
    record(
        session,
        "attempt_started",
        account_id=delivery.account_id,
        message_id=delivery.message_id,
        attempt=delivery.attempts,
        epoch=delivery.epoch,
    )
    return AttemptTicket(
        attempt_id=attempt_id,
        delivery_id=delivery_id,
        message_id=delivery.message_id,
        account_id=delivery.account_id,
        epoch=delivery.epoch,
        envelope_from=delivery.envelope_from,
        recipients={r.number: r.address for r in open_recipients},
        dsn=reports_of(delivery.message_id, delivery.envelope_from, delivery.dsn),
    )


def intend_dot(session: Session, ticket: AttemptTicket, accepted: Sequence[int]) -> None:
    """Commit that the final dot is about to be written for the ``accepted`` recipients.

    Raises:
        ConnectorError: ``LeaseLost`` when another worker has taken over, or word has come that an
            earlier attempt was accepted; nothing may be sent.
    """
    _hold(session, ticket)
    wanted = [r for r in _recipients(session, ticket.delivery_id) if r.number in accepted]
    if any(r.state not in _OPEN_VALUES for r in wanted):
        raise _lost()
    attempt = session.exec(select(Attempt).where(Attempt.id == ticket.attempt_id)).one()
    attempt.phase = Phase.DOT_INTENT
    attempt.dot_intent_at = datetime.now(UTC)
    attempt.recipients = list(accepted)
    session.add(attempt)


def withdraw_dot(session: Session, ticket: AttemptTicket) -> None:
    """Take the intent back: the dot was not written and never will be."""
    _hold(session, ticket)
    attempt = session.exec(select(Attempt).where(Attempt.id == ticket.attempt_id)).one()
    attempt.dot_intent_at = None
    attempt.phase = Phase.BODY
    session.add(attempt)


def end_attempt(
    session: Session,
    ticket: AttemptTicket,
    verdicts: Mapping[int, Verdict],
    phase: Phase,
    error: Failure | None,
    *,
    dsn: str | None = None,
) -> None:
    """Commit what became of the attempt; ``dsn``: why reports were not asked for, if they were to.

    Accepted is accepted, whenever word of it comes. When the delivery was taken over meanwhile, a
    definite verdict still settles recipients that were labelled unknown: evidence is welcome late,
    a second label would be a lie. What another attempt left unknown is settled by an acceptance
    only: a refusal says nothing about that one.
    """
    delivery = _locked(session, ticket.delivery_id)
    attempt = session.exec(select(Attempt).where(Attempt.id == ticket.attempt_id)).one()
    late = delivery.epoch != ticket.epoch
    recipients = {r.number: r for r in _recipients(session, ticket.delivery_id)}
    doubted = _doubted(session, ticket.delivery_id, without=ticket.attempt_id)
    before: list[str] = []
    for number, verdict in verdicts.items():
        recipient = recipients[number]
        if recipient.state == RecipientState.SENT:
            continue
        state = verdict.state
        unsettled = recipient.state == RecipientState.UNKNOWN
        if late and not unsettled and state is not RecipientState.SENT:
            continue
        if late and state is RecipientState.DEFERRED and not delivery.queued:
            # Its workflow has ended, nobody is left to try again: it is then a refusal.
            state = RecipientState.FAILED
        if late and number in doubted and state is not RecipientState.SENT:
            continue
        hides = state is RecipientState.FAILED and number in doubted
        before += _move(session, recipient, RecipientState.UNKNOWN if hides else state)
        recipient.code = verdict.code
        recipient.enhanced_code = verdict.enhanced_code
        recipient.reply = verdict.reply
    states = {v.state for v in verdicts.values()}
    outcome = (
        _UNKNOWN
        if RecipientState.UNKNOWN in states
        else _SENT
        if RecipientState.SENT in states
        else _NOT_SENT
    )
    attempt.phase = phase
    attempt.ended_at = datetime.now(UTC)
    attempt.code = error.code if error else next((v.code for v in verdicts.values()), None)
    attempt.error_type = error.type if error else None
    _judge(session, attempt, outcome)
    kind, words = blame(error, verdicts.values())
    record(
        session,
        "late_evidence" if late else "attempt_ended",
        account_id=ticket.account_id,
        message_id=ticket.message_id,
        error_type=kind,
        outcome=attempt.outcome,
        phase=phase.value,
        code=attempt.code,
        epoch=ticket.epoch,
        dsn=dsn,
        **words,
    )
    _restate(session, delivery, before)


def blame(
    error: Failure | None, verdicts: Iterable[Verdict]
) -> tuple[ErrorType | None, dict[str, Any]]:
    """What the error log says of an attempt: a type, and details besides phase and code."""
    refused = sum(v.state is RecipientState.FAILED for v in verdicts)
    words = {"refused": refused or None, "explanation": error.explanation if error else None}
    kind = error.type if error else ErrorType.SERVER_REFUSED if refused else None
    return kind, {name: value for name, value in words.items() if value is not None}


def take_over(session: Session, delivery_id: str, owner: str, epoch: int | None = None) -> bool:
    """Fence off an attempt that was lost; False when that has been done already.

    The attempt was to begin at ``epoch``; if it did, the delivery is one further. Still further,
    another attempt at this step was quicker, and what goes on now is wanted.
    """
    if epoch is not None and _locked(session, delivery_id).epoch > epoch + 1:
        return False
    fence(session, delivery_id, owner)
    return True


def epoch_of(session: Session, delivery_id: str) -> int:
    """Epoch of a delivery."""
    return session.exec(select(Delivery.epoch).where(Delivery.id == delivery_id)).one()


def fence(session: Session, delivery_id: str, owner: str) -> Delivery:
    """Bump the epoch and label the attempt that was under way, if any."""
    delivery = _locked(session, delivery_id)
    delivery.epoch += 1
    delivery.lease_owner = owner
    session.add(delivery)
    lost = session.exec(
        select(Attempt).where(Attempt.delivery_id == delivery_id, col(Attempt.outcome).is_(None))
    ).all()
    before: list[str] = []
    for attempt in lost:
        ambiguous = attempt.dot_intent_at is not None
        attempt.ended_at = datetime.now(UTC)
        _judge(session, attempt, _UNKNOWN if ambiguous else _NOT_SENT)
        if ambiguous:
            before += _mark_unknown(session, delivery_id, attempt.recipients)
        record(
            session,
            "attempt_lost",
            account_id=delivery.account_id,
            message_id=delivery.message_id,
            outcome=attempt.outcome,
            phase=attempt.phase,
            epoch=attempt.epoch,
        )
    if lost:
        _restate(session, delivery, before)
    return delivery


def reopen_unknown(session: Session, delivery_id: str) -> None:
    """Let recipients whose outcome is unknown be tried again (policy ``at_least_once``).

    Those that the server has refused since then stay unknown; it would refuse them again.
    """
    session.connection().execute(
        update(Recipient)
        .where(
            col(Recipient.delivery_id) == delivery_id,
            col(Recipient.state) == RecipientState.UNKNOWN,
            or_(col(Recipient.code).is_(None), col(Recipient.code) < _PERMANENT_CODE),
        )
        .values(state=RecipientState.DEFERRED)
    )
    session.expire_all()
    delivery = _locked(session, delivery_id)
    record(
        session, "unknown_reopened", account_id=delivery.account_id, message_id=delivery.message_id
    )
    _restate(session, delivery, ())


def convert(
    session: Session,
    delivery_id: str,
    states: Mapping[RecipientState, RecipientState],
    *,
    owner: str | None = None,
) -> Delivery:
    """Give recipients that are in one of ``states`` the state that stands beside it.

    With an ``owner``, whoever is sending is fenced off first.
    """
    delivery = fence(session, delivery_id, owner) if owner else _locked(session, delivery_id)
    before: list[str] = []
    for recipient in _recipients(session, delivery_id):
        wanted = states.get(RecipientState(recipient.state))
        if wanted is not None:
            before += _move(session, recipient, wanted)
    _restate(session, delivery, before)
    return delivery


def settle_unknown(session: Session, delivery_id: str, numbers: Collection[int]) -> None:
    """Call recipients sent whose outcome was unknown: there is evidence that the mail was taken."""
    delivery = _locked(session, delivery_id)
    before: list[str] = []
    for recipient in _recipients(session, delivery_id):
        if recipient.number in numbers and recipient.state == RecipientState.UNKNOWN:
            before += _move(session, recipient, RecipientState.SENT)
    _restate(session, delivery, before)


def close(
    session: Session, delivery_id: str, error: Failure | None, *, cancelled: bool = False
) -> None:
    """Give up recipients that are still open; what the server said last stays with them.

    An attempt that is still under way (its workflow was cancelled) is fenced off first.
    """
    delivery = fence(session, delivery_id, owner="")
    final = RecipientState.CANCELLED if cancelled else RecipientState.FAILED
    doubted = _doubted(session, delivery_id)
    before: list[str] = []
    for recipient in _recipients(session, delivery_id):
        if recipient.state in _OPEN_VALUES:
            doubtful = recipient.number in doubted
            before += _move(session, recipient, RecipientState.UNKNOWN if doubtful else final)
    _restate(session, delivery, before)
    record(
        session,
        "message_settled",
        account_id=delivery.account_id,
        message_id=delivery.message_id,
        error_type=error.type if error else None,
        status=delivery.state,
        explanation=error.explanation if error else None,
    )


def report(session: Session, delivery_id: str, error: Failure | None = None) -> DeliveryReport:
    """What stands in the ledger about a delivery."""
    delivery = session.exec(select(Delivery).where(Delivery.id == delivery_id)).one()
    results = [
        RecipientResult(
            address=r.address,
            kind=RecipientKind(r.kind),
            state=RecipientState(r.state),
            code=r.code,
            enhanced_code=r.enhanced_code,
            reply=r.reply,
        )
        for r in _recipients(session, delivery_id)
    ]
    sent_at = session.exec(select(Message.sent_at).where(Message.id == delivery.message_id)).one()
    status = status_of([r.state for r in results])
    # What is not sent has no copy that could be due.
    is_sent = status in (MessageStatus.SENT, MessageStatus.PARTIALLY_SENT)
    return DeliveryReport(
        sent_at=sent_at,
        sent_copy=SentCopy(delivery.sent_copy) if is_sent and delivery.sent_copy else None,
        status=status,
        recipients=results,
        attempts=delivery.attempts,
        epoch=delivery.epoch,
        error=error,
        retry_after_seconds=error.retry_after_seconds if error else None,
    )


def status_of(states: Sequence[RecipientState]) -> MessageStatus:
    """Status of a mail from the states of its recipients; unknown is never hidden."""
    found = set(states)
    if RecipientState.UNKNOWN in found:
        return MessageStatus.UNKNOWN
    if found & OPEN_STATES:
        return MessageStatus.QUEUED
    if found == {RecipientState.SENT}:
        return MessageStatus.SENT
    if RecipientState.SENT in found:
        return MessageStatus.PARTIALLY_SENT
    if found == {RecipientState.CANCELLED}:
        return MessageStatus.CANCELLED
    return MessageStatus.FAILED


def _move(session: Session, recipient: Recipient, state: RecipientState) -> list[str]:
    """Set a recipient's state; returns the one it left, if it left one."""
    left, recipient.state = recipient.state, state
    session.add(recipient)
    if left == state:
        return []
    if state not in OPEN_STATES:
        tally(session, RECIPIENTS, state=state.value)
    return [left]


def _judge(session: Session, attempt: Attempt, outcome: str) -> None:
    """Set what became of an attempt."""
    if attempt.outcome != outcome:
        tally(session, ATTEMPTS, outcome=outcome, error_type=attempt.error_type or "")
    attempt.outcome = outcome
    session.add(attempt)


def _restate(session: Session, delivery: Delivery, before: Sequence[str]) -> None:
    """Derive the status from the recipients, some of which have just left the states ``before``."""
    session.flush()
    states = [RecipientState(r.state) for r in _recipients(session, delivery.id)]
    status = status_of(states)
    settled = not OPEN_STATES.intersection(states)
    if settled and (OPEN_STATES.intersection(before) or (before and delivery.state != status)):
        tally(session, DELIVERIES, status=status.value)
    if settled and before and delivery.queued and _tells(session, delivery.message_id):
        delivery.tell_at = datetime.now(UTC)
    delivery.state = status
    session.add(delivery)
    _set_message_status(session, delivery.message_id, status)


def _tells(session: Session, message_id: str) -> bool:
    """Whether a mail names somebody who is told what becomes of it."""
    found = session.exec(
        select(Message.id).where(Message.id == message_id, col(Message.callbacks).is_not(None))
    )
    return found.first() is not None


def _set_message_status(session: Session, message_id: str, status: MessageStatus) -> None:
    values: dict[str, Any] = {"status": status}
    if status in (MessageStatus.SENT, MessageStatus.PARTIALLY_SENT):
        values["sent_at"] = datetime.now(UTC)
    session.connection().execute(
        update(Message).where(col(Message.id) == message_id).values(**values)
    )


def _mark_unknown(session: Session, delivery_id: str, numbers: Sequence[int]) -> list[str]:
    before: list[str] = []
    for recipient in _recipients(session, delivery_id):
        if recipient.number in numbers and recipient.state in _OPEN_VALUES:
            before += _move(session, recipient, RecipientState.UNKNOWN)
    return before


def _doubted(session: Session, delivery_id: str, *, without: str = "") -> set[int]:
    """Numbers of the recipients that an attempt of unknown outcome may have reached."""
    attempts = session.exec(
        select(Attempt.recipients).where(
            Attempt.delivery_id == delivery_id, Attempt.outcome == _UNKNOWN, Attempt.id != without
        )
    )
    return {number for recipients in attempts for number in recipients}


def reports_of(
    message_id: str, envelope_from: str, dsn: Mapping[str, Any] | None
) -> DsnRequest | None:
    """What to ask the server for; nothing for the null sender, to which no report ever goes."""
    if not envelope_from:
        return None
    asked = dsn or {}
    return DsnRequest(
        envelope_id=message_id,
        notify=tuple(Notify(name) for name in asked.get("notify") or ()),
        ret=ReturnContent(asked["ret"]) if asked.get("ret") else None,
    )


def _recipients(session: Session, delivery_id: str) -> Sequence[Recipient]:
    return session.exec(
        select(Recipient)
        .where(Recipient.delivery_id == delivery_id)
        .order_by(col(Recipient.number))
    ).all()


def _locked(session: Session, delivery_id: str) -> Delivery:
    delivery = session.exec(
        select(Delivery).where(Delivery.id == delivery_id).with_for_update()
    ).one_or_none()
    if delivery is None:
        raise ConnectorError(ErrorType.MESSAGE_NOT_FOUND, "the delivery is not in the store")
    return delivery


def _hold(session: Session, ticket: AttemptTicket) -> None:
    # An UPDATE, not a SELECT: it takes the row's lock and tells in one step who holds the epoch.
    result: CursorResult[Any] = session.connection().execute(
        update(Delivery)
        .where(col(Delivery.id) == ticket.delivery_id, col(Delivery.epoch) == ticket.epoch)
        .values(state=MessageStatus.SENDING)
    )
    if result.rowcount != 1:
        raise _lost()


def _lost() -> ConnectorError:
    return ConnectorError(
        ErrorType.LEASE_LOST, "another worker has taken this delivery over; nothing was sent"
    )
