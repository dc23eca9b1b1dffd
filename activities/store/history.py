"""Looking through the timeline and the mails: by account, kind and time, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, or_
from sqlmodel import Session, col, select

from models.advice import ADVICE
from models.delivery import MessageStatus
from models.errors import TEMPORARY, ConnectorError, ErrorType, known_type
from models.failure import Failure
from models.names import Direction
from models.system_error import LoggedError
from models.tables import Attempt, Delivery, LogEntry, Message, Recipient


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFilter:
    """Which steps of the timeline are wanted; None = any."""

    account_id: str | None = None
    message_id: str | None = None
    event: str | None = None
    error_type: ErrorType | None = None
    errors: bool = False
    """Only steps that failed."""
    since: datetime | None = None
    until: datetime | None = None
    """Before this moment."""
    before: int | None = None
    """With a smaller id: the next page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailFilter:
    """Which mails are wanted; None = any."""

    account_id: str | None = None
    direction: Direction | None = None
    status: MessageStatus | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: str | None = None
    """Older than the mail with this id: the next page."""


@dataclass(frozen=True, slots=True)
class DeliveryTrail:
    """A delivery with its recipients and attempts."""

    delivery: Delivery
    recipients: Sequence[Recipient]
    attempts: Sequence[Attempt]


@dataclass(frozen=True, slots=True)
class Trail:
    """All that is known of what happened to one mail, in order."""

    message: Message
    deliveries: Sequence[DeliveryTrail]
    steps: Sequence[LogEntry]


def steps(session: Session, wanted: StepFilter, *, limit: int) -> Sequence[LogEntry]:
    """The newest steps of the timeline."""
    query = select(LogEntry).order_by(col(LogEntry.id).desc()).limit(limit)
    if wanted.account_id is not None:
        query = query.where(LogEntry.account_id == wanted.account_id)
    if wanted.message_id is not None:
        query = query.where(LogEntry.message_id == wanted.message_id)
    if wanted.event is not None:
        query = query.where(LogEntry.event == wanted.event)
    if wanted.error_type is not None:
        query = query.where(LogEntry.error_type == wanted.error_type)
    if wanted.errors:
        query = query.where(col(LogEntry.error_type).is_not(None))
    if wanted.since is not None:
        query = query.where(col(LogEntry.at) >= wanted.since)
    if wanted.until is not None:
        query = query.where(col(LogEntry.at) < wanted.until)
    if wanted.before is not None:
        query = query.where(col(LogEntry.id) < wanted.before)
    return session.exec(query).all()


def mails(
    session: Session, wanted: MailFilter, *, limit: int
) -> Sequence[tuple[Message, Delivery | None]]:
    """The newest mails; one that was or is to be sent comes with its delivery."""
    query = (
        select(Message, Delivery)
        .outerjoin(Delivery, col(Delivery.message_id) == col(Message.id))
        .order_by(col(Message.created_at).desc(), col(Message.id).desc())
        .limit(limit)
    )
    if wanted.account_id is not None:
        query = query.where(Message.account_id == wanted.account_id)
    if wanted.direction is not None:
        query = query.where(Message.direction == wanted.direction)
    if wanted.status is not None:
        query = query.where(Message.status == wanted.status)
    if wanted.since is not None:
        query = query.where(col(Message.created_at) >= wanted.since)
    if wanted.until is not None:
        query = query.where(col(Message.created_at) < wanted.until)
    if wanted.before is not None:
        last = message_of(session, wanted.before)
        query = query.where(
            or_(
                col(Message.created_at) < last.created_at,
                and_(col(Message.created_at) == last.created_at, col(Message.id) < last.id),
            )
        )
    return [(message, delivery) for message, delivery in session.exec(query)]


def message_of(session: Session, message_id: str) -> Message:
    """A mail by id; raises ``MessageNotFound``."""
    found = session.exec(select(Message).where(Message.id == message_id)).one_or_none()
    if found is None:
        raise ConnectorError(
            ErrorType.MESSAGE_NOT_FOUND, "there is no mail with this id", field="message_id"
        )
    return found


def trail(session: Session, message_id: str) -> Trail:
    """What happened to a mail; raises ``MessageNotFound``."""
    message = message_of(session, message_id)
    deliveries = session.exec(
        select(Delivery).where(Delivery.message_id == message_id).order_by(col(Delivery.id))
    ).all()
    entries = session.exec(
        select(LogEntry).where(LogEntry.message_id == message_id).order_by(col(LogEntry.id))
    ).all()
    return Trail(message, [_delivery_trail(session, d) for d in deliveries], entries)


def failure_of(step: LogEntry) -> Failure | None:
    """The error of a step, explained as it was then or as its type is; None without one."""
    kind = known_type(step.error_type)
    if kind is None:
        return None
    explanation = step.detail.get("explanation") or ADVICE[kind].meaning
    return Failure(
        type=kind,
        message=explanation,
        temporary=kind in TEMPORARY,
        phase=step.detail.get("phase"),
        code=step.detail.get("code"),
        explanation=explanation,
    )


def logged_error(step: LogEntry) -> LoggedError:
    """A step that failed, with what to do about it."""
    failure = failure_of(step)
    return LoggedError(
        id=step.id or 0,
        at=step.at,
        type=step.error_type or "",
        explanation=failure.message if failure else "a type of another version of the product",
        what_to_do=ADVICE[failure.type].remedy if failure else "read its documentation",
        event=step.event,
        account_id=step.account_id,
        message_id=step.message_id,
        phase=step.detail.get("phase"),
        code=step.detail.get("code"),
    )


def _delivery_trail(session: Session, delivery: Delivery) -> DeliveryTrail:
    recipients = session.exec(
        select(Recipient)
        .where(Recipient.delivery_id == delivery.id)
        .order_by(col(Recipient.number))
    ).all()
    attempts = session.exec(
        select(Attempt).where(Attempt.delivery_id == delivery.id).order_by(col(Attempt.epoch))
    ).all()
    return DeliveryTrail(delivery, recipients, attempts)
