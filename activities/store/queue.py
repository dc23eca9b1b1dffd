"""The queue: which mails are due, and who may send them.

A mail is leased to one worker at a time. Leasing bumps its epoch, so that whoever held it before
can commit nothing more; a lease that ran out is taken over, and what it left behind is labelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, case, delete, exists, func, or_, tuple_, update
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from activities.store import ledger
from activities.store.among import among
from activities.store.insertion import insert_missing
from activities.store.ledger import AttemptTicket
from activities.store.log import record
from activities.store.scopes import back_off_scope
from models.account import UnknownPolicy
from models.delivery import OPEN_STATES, MessageStatus, RecipientState
from models.errors import ErrorType
from models.failure import Failure
from models.tables import (
    AccountRow,
    Attempt,
    ContentRow,
    Delivery,
    Message,
    Recipient,
    Rendition,
    SlowDown,
)

_OPEN = [state.value for state in OPEN_STATES]
HELD_UNKNOWN = "unknown"
"""Why a mail is held whose outcome is unknown and that must not be sent twice."""
SMALL_BYTES = 32 * 1024
"""Mails up to this size are read along with their lease."""
_COUNT_LIMIT = 10_000
_PROBE = timedelta(hours=1)
"""A parked account is looked at this often, in case it was mended and nobody said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedMail(AttemptTicket):
    """A mail that is leased to us: the right to transmit it once, and all that this takes."""

    raw: bytes | None
    """Its bytes; None when they are too many to be handed around."""
    content_key: str
    rendition_id: str
    settled: Mapping[int, RecipientState]
    """Recipients that are settled already."""
    attempts: int
    """Attempts before this one."""
    max_attempts: int | None
    give_up_at: datetime | None
    tells: bool
    """Whether somebody is to be told what becomes of it."""
    doubtful: bool
    """Whether an earlier attempt may have reached somebody: its verdicts need a closer look."""


def due_accounts(session: Session, now: datetime) -> list[str]:
    """Ids of accounts with mail to send now; not of those that are paused, parked or slowed."""
    slowed = select(SlowDown.scope).where(
        or_(
            col(SlowDown.scope) == "queue/" + col(AccountRow.id),
            col(SlowDown.scope) == "account/" + col(AccountRow.id),
        ),
        col(SlowDown.until) > now,
    )
    mine = select(Delivery.id).where(col(Delivery.account_id) == col(AccountRow.id))
    return list(
        session.exec(
            select(AccountRow.id)
            .where(
                col(AccountRow.paused_at).is_(None),
                or_(col(AccountRow.parked_at).is_(None), col(AccountRow.parked_at) < now - _PROBE),
                # Two questions, for each of which an index has the answer.
                or_(exists(mine.where(_due(now))), exists(mine.where(_expired(now)))),
                ~exists(slowed),
            )
            .order_by(col(AccountRow.id))
        )
    )


def count_due(session: Session, now: datetime, account_id: str | None = None) -> int:
    """How many mails may be sent now, of accounts that may send."""
    due = due_accounts(session, now)
    accounts = [one for one in due if account_id in (None, one)]
    counted = 0
    for one in accounts:
        some = (
            select(Delivery.id)
            .where(col(Delivery.account_id) == one, _due(now) | _expired(now))
            .limit(_COUNT_LIMIT)
        )
        counted += session.exec(select(func.count()).select_from(some.subquery())).one()
    return counted


def lease(
    session: Session, account_id: str, owner: str, limit: int, now: datetime, until: datetime
) -> list[QueuedMail]:
    """Take up to ``limit`` mails of an account, the most urgent first; none while it is paused.

    Mails whose worker is gone are labelled first; those past ``expires_at`` are left alone.
    """
    paused = select(AccountRow.paused_at).where(AccountRow.id == account_id)
    if session.exec(paused).first() is not None:
        return []
    for delivery_id in session.exec(
        select(Delivery.id)
        .where(col(Delivery.account_id) == account_id, _expired(now))
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all():
        take_over(session, delivery_id, now)
    session.flush()  # what follows goes past the session
    wanted = (
        select(Delivery.id)
        .where(
            col(Delivery.account_id) == account_id,
            _due(now),
            or_(col(Delivery.expires_at).is_(None), col(Delivery.expires_at) > now),
        )
        .order_by(col(Delivery.priority), col(Delivery.next_attempt_at), col(Delivery.id))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    taken = session.connection().execute(
        update(Delivery)
        .where(col(Delivery.id).in_(wanted))
        .values(
            state=MessageStatus.SENDING,
            epoch=col(Delivery.epoch) + 1,
            lease_owner=owner,
            leased_until=until,
        )
        .returning(
            col(Delivery.id),
            col(Delivery.message_id),
            col(Delivery.account_id),
            col(Delivery.epoch),
            col(Delivery.envelope_from),
            col(Delivery.rendition_id),
            col(Delivery.attempts),
            col(Delivery.max_attempts),
            col(Delivery.give_up_at),
            col(Delivery.dsn),
            col(Delivery.priority),
            col(Delivery.next_attempt_at),
        )
    )
    rows = sorted(taken.all(), key=lambda row: (row.priority, row.next_attempt_at or now, row.id))
    if not rows:
        return []
    mails = _mails(session, rows)
    for mail in mails:
        if not mail.recipients:  # word of the last one came after it was queued again
            ledger.close(session, mail.delivery_id, None)
    return [mail for mail in mails if mail.recipients]


def cancel_outdated(session: Session, account_id: str, now: datetime, limit: int) -> int:
    """Cancel up to ``limit`` mails of an account that are past ``expires_at``; returns how many."""
    outdated = session.exec(
        select(Delivery.id)
        .where(
            col(Delivery.account_id) == account_id,
            col(Delivery.queued),
            col(Delivery.state) == MessageStatus.QUEUED,
            col(Delivery.expires_at) <= now,
        )
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for delivery_id in outdated:
        late = Failure(
            type=ErrorType.EXPIRED, message="it was not sent before expires_at", temporary=False
        )
        ledger.close(session, delivery_id, late, cancelled=True)
    return len(outdated)


def is_unclaimed(session: Session, delivery_id: str) -> bool:
    """Whether nobody holds a mail that has recipients to be tried again."""
    leased = select(Delivery.leased_until).where(Delivery.id == delivery_id)
    states = _states(session, delivery_id)
    return session.exec(leased).one() is None and bool(OPEN_STATES.intersection(states))


def take_over(session: Session, delivery_id: str, now: datetime) -> None:
    """Label what a lost lease left behind, and put the mail where its policy says."""
    ledger.fence(session, delivery_id, "")
    plan_next(session, delivery_id, now)


def plan_next(session: Session, delivery_id: str, next_attempt_at: datetime) -> None:
    """Put a mail that is not leased any more where its recipients and its policy say."""
    delivery = session.exec(select(Delivery).where(Delivery.id == delivery_id)).one()
    states = _states(session, delivery_id)
    if RecipientState.UNKNOWN in states:
        match UnknownPolicy(delivery.unknown_policy):
            case UnknownPolicy.AT_LEAST_ONCE:
                ledger.reopen_unknown(session, delivery_id)
                states = _states(session, delivery_id)
            case UnknownPolicy.AT_MOST_ONCE:
                delivery.held_reason = HELD_UNKNOWN
            case UnknownPolicy.VERIFY:
                pass  # who tends the Sent folder finds it
    delivery.leased_until = None
    if OPEN_STATES.intersection(states):
        # Those of unknown outcome do not keep the others waiting.
        delivery.state = MessageStatus.QUEUED
        delivery.held_reason = None
        delivery.next_attempt_at = next_attempt_at
    session.add(delivery)


def _states(session: Session, delivery_id: str) -> list[RecipientState]:
    found = session.exec(select(Recipient.state).where(Recipient.delivery_id == delivery_id))
    return [RecipientState(state) for state in found]


def renew(session: Session, owner: str, until: datetime) -> None:
    """Keep all that ``owner`` holds."""
    session.connection().execute(
        update(Delivery)
        .where(
            col(Delivery.lease_owner) == owner,
            col(Delivery.queued),
            col(Delivery.state) == MessageStatus.SENDING,
        )
        .values(leased_until=until)
    )


def give_back(session: Session, tickets: Sequence[AttemptTicket]) -> None:
    """Put mails that were leased and not tried back where they were."""
    if not tickets:
        return
    held = [(ticket.delivery_id, ticket.epoch) for ticket in tickets]
    session.connection().execute(
        update(Delivery)
        .where(
            tuple_(col(Delivery.id), col(Delivery.epoch)).in_(held),
            col(Delivery.state) == MessageStatus.SENDING,
        )
        .values(state=MessageStatus.QUEUED, leased_until=None)
    )


def untold(session: Session) -> list[str]:
    """Mails whose callers are to be told what became of them, the oldest first; 100 at the most."""
    return list(
        session.exec(
            select(Delivery.message_id)
            .where(col(Delivery.tell_at).is_not(None))
            .order_by(col(Delivery.tell_at))
            .limit(100)
        )
    )


def told(session: Session, message_ids: Sequence[str]) -> None:
    """Note that workflows tell the callers of these mails."""
    session.connection().execute(
        update(Delivery).where(col(Delivery.message_id).in_(message_ids)).values(tell_at=None)
    )


def park(session: Session, account_id: str, reason: ErrorType, now: datetime) -> None:
    """Stop sending for an account until a person has mended it, or an hour has passed."""
    row = session.exec(select(AccountRow).where(AccountRow.id == account_id)).one_or_none()
    if row is None:
        return
    if row.parked_reason != reason:
        record(session, "account_parked", account_id=account_id, error_type=reason)
    row.parked_at, row.parked_reason = now, reason
    session.add(row)


def unpark(session: Session, account_id: str) -> None:
    """Note that an account can send again."""
    done = session.connection().execute(
        update(AccountRow)
        .where(col(AccountRow.id) == account_id, col(AccountRow.parked_at).is_not(None))
        .values(parked_at=None, parked_reason=None)
        .returning(col(AccountRow.id))
    )
    if done.first():
        record(session, "account_released", account_id=account_id)


def back_off(
    session: Session,
    account_id: str,
    delays: Sequence[float],
    now: datetime,
    hint: float | None,
    cap: float,
) -> None:
    """Leave an account alone whose server cannot be reached; longer each time in a row.

    A server's hint is a lower bound; ``cap`` (seconds) binds everything, as for a single mail.
    """
    scope = back_off_scope(account_id)
    # Two workers may find the same at the same time.
    insert_missing(session, SlowDown, [{"scope": scope, "until": now, "strikes": 0}])
    row = session.exec(select(SlowDown).where(SlowDown.scope == scope).with_for_update()).one()
    if row.strikes and row.until > now:
        return  # another connection has just found the same
    row.strikes += 1
    pause = max(delays[min(row.strikes, len(delays)) - 1], hint or 0)
    row.until = now + timedelta(seconds=min(pause, cap))
    session.add(row)


def reached(session: Session, account_id: str) -> None:
    """Note that an account's server can be reached and takes our login."""
    unpark(session, account_id)
    session.connection().execute(
        delete(SlowDown).where(col(SlowDown.scope) == back_off_scope(account_id))
    )


def _due(now: datetime) -> Any:
    return and_(
        col(Delivery.queued),
        col(Delivery.state) == MessageStatus.QUEUED,
        col(Delivery.held_reason).is_(None),
        or_(col(Delivery.next_attempt_at).is_(None), col(Delivery.next_attempt_at) <= now),
    )


def _expired(now: datetime) -> Any:
    return and_(
        col(Delivery.queued),
        col(Delivery.state) == MessageStatus.SENDING,
        col(Delivery.leased_until) < now,
    )


def _mails(session: Session, rows: Sequence[Any]) -> list[QueuedMail]:
    ids = [row.id for row in rows]
    recipients: dict[str, dict[int, str]] = {key: {} for key in ids}
    settled: dict[str, dict[int, RecipientState]] = {key: {} for key in ids}
    for key, number, address, state in session.connection().execute(
        select(Recipient.delivery_id, Recipient.number, Recipient.address, Recipient.state)
        .where(among(session, col(Recipient.delivery_id), ids))
        .order_by(col(Recipient.delivery_id), col(Recipient.number))
    ):
        if state in _OPEN:
            recipients[key][number] = address
        else:
            settled[key][number] = RecipientState(state)
    small = case((func.length(ContentRow.data) <= SMALL_BYTES, ContentRow.data))
    unknown = exists().where(
        col(Attempt.delivery_id) == col(Delivery.id), col(Attempt.outcome) == "unknown"
    )
    details = {
        key: (content_key, raw, tells, doubtful)
        for key, content_key, raw, tells, doubtful in session.connection().execute(
            sa_select(
                col(Delivery.id),
                col(ContentRow.key),
                small,
                col(Message.callbacks).is_not(None),
                unknown,
            )
            .join(Rendition, col(Rendition.id) == col(Delivery.rendition_id))
            .join(ContentRow, col(ContentRow.key) == col(Rendition.content_key))
            .join(Message, col(Message.id) == col(Delivery.message_id))
            .where(among(session, col(Delivery.id), ids))
        )
    }
    mails: list[QueuedMail] = []
    for row in rows:
        content_key, raw, tells, doubtful = details[row.id]
        mails.append(
            QueuedMail(
                attempt_id=f"{row.id}.{row.epoch}",
                delivery_id=row.id,
                message_id=row.message_id,
                account_id=row.account_id,
                epoch=row.epoch,
                envelope_from=row.envelope_from,
                recipients=recipients[row.id],
                dsn=ledger.reports_of(row.message_id, row.envelope_from, row.dsn),
                raw=raw,
                content_key=content_key,
                rendition_id=row.rendition_id,
                settled=settled[row.id],
                attempts=row.attempts,
                max_attempts=row.max_attempts,
                give_up_at=row.give_up_at,
                tells=tells,
                doubtful=doubtful,
            )
        )
    return mails
