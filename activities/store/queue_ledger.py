"""The ledger's two writes for many mails at once: intents before the dots, and outcomes.

The same rules as ``activities.store.ledger``, for a whole group (``queue_statements``). Whatever is
out of the ordinary (taken over meanwhile, unknown, doubtful from an earlier attempt) is left to
``end_carefully``, which goes through the ledger itself, mail by mail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, update
from sqlmodel import Session, col, select

from activities.ports import Metrics
from activities.store import ledger, queue
from activities.store.engine import Database
from activities.store.ledger import Verdict
from activities.store.queue import QueuedMail
from activities.store.queue_statements import (
    OWNER,
    Row,
    Rows,
    write_postgresql,
    write_sqlite,
)
from activities.timing import timed
from models.delivery import OPEN_STATES, MessageStatus, Phase, RecipientState
from models.errors import ErrorType
from models.failure import Failure
from models.metrics import ATTEMPTS, COMMIT_DURATION, DELIVERIES, RECIPIENTS
from models.tables import Attempt, Delivery

_SENT_STATES = (MessageStatus.SENT, MessageStatus.PARTIALLY_SENT)


@dataclass(frozen=True, slots=True)
class Intent:
    """That the final dot of a mail comes next, for the recipients ``accepted``."""

    mail: QueuedMail
    accepted: Sequence[int]
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt.

    Attributes:
        mail: What was sent.
        verdicts: The server's word about each recipient.
        phase: How far the transaction got.
        error: What ended it, if something did.
        started_at: When it began.
        next_attempt_at: When recipients that are still open are tried again; None = never.
        intended: Whether its intent stands in the ledger.
        dsn: Why reports that were asked for were not asked of the server.
    """

    mail: QueuedMail
    verdicts: Mapping[int, Verdict]
    phase: Phase
    error: Failure | None
    started_at: datetime
    next_attempt_at: datetime | None
    intended: bool = False
    dsn: str | None = None

    @property
    def states(self) -> dict[int, RecipientState]:
        """State of every recipient of the mail after it."""
        final = self.next_attempt_at is None
        return dict(self.mail.settled) | {
            number: RecipientState.FAILED
            if final and verdict.state in OPEN_STATES
            else verdict.state
            for number, verdict in self.verdicts.items()
        }

    @property
    def usual(self) -> bool:
        """Whether nothing but this attempt has a say in it."""
        lost = self.error is not None and self.error.type is ErrorType.LEASE_LOST
        return not lost and not self.mail.doubtful and self.word != "unknown"

    @property
    def word(self) -> str:
        """The attempt's outcome: unknown, sent or not_sent."""
        found = {verdict.state for verdict in self.verdicts.values()}
        if RecipientState.UNKNOWN in found:
            return "unknown"
        return "sent" if RecipientState.SENT in found else "not_sent"

    @property
    def code(self) -> int | None:
        """The reply code that says most about it."""
        if self.error:
            return self.error.code
        return next((verdict.code for verdict in self.verdicts.values()), None)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What has been committed of a group.

    Attributes:
        intended: Attempts whose dot may be sent; the others are not ours any more.
        left: Outcomes that are not written yet and want a closer look.
    """

    intended: set[str]
    left: list[Outcome]


def record(database: Database, outcomes: Sequence[Outcome], intents: Sequence[Intent]) -> Recorded:
    """Commit outcomes and intents of different mails, in one transaction."""
    usual = [outcome for outcome in outcomes if outcome.usual]
    now = datetime.now(UTC)
    rows = Rows(
        [_ended(outcome, now) for outcome in usual],
        [row for outcome in usual for row in _verdicts(outcome)],
        [_intent(intent, now) for intent in intents],
    )
    write = write_sqlite if database.is_sqlite else write_postgresql
    with timed(database.metrics, COMMIT_DURATION), database.driver() as cursor:
        ended, intended = write(cursor, rows)
    written = [outcome for outcome in usual if outcome.mail.delivery_id in ended]
    _count(database.metrics, written)
    return Recorded(
        {i.mail.attempt_id for i in intents if i.mail.delivery_id in intended},
        [o for o in outcomes if not o.usual or o.mail.delivery_id not in ended],
    )


def _attempt(mail: QueuedMail, started_at: datetime, recipients: list[int]) -> dict[str, Any]:
    return {
        "id": mail.attempt_id,
        "delivery_id": mail.delivery_id,
        "rendition_id": mail.rendition_id,
        "epoch": mail.epoch,
        "owner": OWNER,
        "recipients": recipients,
        "started_at": started_at,
        "phase": Phase.CONNECT,
    }


def end_carefully(session: Session, outcome: Outcome) -> None:
    """The same for one attempt of which nothing is taken for granted."""
    mail = outcome.mail
    epoch = session.exec(select(Delivery.epoch).where(Delivery.id == mail.delivery_id)).first()
    if epoch is None:
        return  # it was deleted, with its account
    ours = epoch == mail.epoch
    if outcome.error and outcome.error.type is ErrorType.LEASE_LOST:
        if ours:
            queue.take_over(session, mail.delivery_id, datetime.now(UTC))
        return
    known = select(Attempt.id).where(Attempt.id == mail.attempt_id)
    if not outcome.intended and session.exec(known).first() is None:
        attempt = _attempt(mail, outcome.started_at, list(mail.recipients))
        session.connection().execute(insert(Attempt), [attempt])
    ledger.end_attempt(
        session, mail, outcome.verdicts, outcome.phase, outcome.error, dsn=outcome.dsn
    )
    if not ours:
        _refresh(session)
        if queue.is_unclaimed(session, mail.delivery_id):
            _go_on(session, outcome)  # else whoever holds it decides what comes next
        return
    session.connection().execute(
        update(Delivery)
        .where(col(Delivery.id) == mail.delivery_id)
        .values(attempts=mail.attempts + 1)
    )
    _refresh(session)
    _go_on(session, outcome)


def _go_on(session: Session, outcome: Outcome) -> None:
    if outcome.next_attempt_at is None:
        ledger.close(session, outcome.mail.delivery_id, outcome.error)
    _plan(session, outcome)


def _refresh(session: Session) -> None:
    """See what statements have changed; to expire alone would drop what is not written yet."""
    session.flush()
    session.expire_all()


def _plan(session: Session, outcome: Outcome) -> None:
    when = outcome.next_attempt_at or datetime.now(UTC)
    queue.plan_next(session, outcome.mail.delivery_id, when)


def _ended(outcome: Outcome, now: datetime) -> Row:
    mail, error, word, code = outcome.mail, outcome.error, outcome.word, outcome.code
    states = list(outcome.states.values())
    status = ledger.status_of(states)
    is_open = bool(OPEN_STATES.intersection(states))
    blamed, words = ledger.blame(error, outcome.verdicts.values())
    detail = {
        **words,
        "attempt": mail.attempts + 1,
        "outcome": word,
        "phase": outcome.phase.value,
        "epoch": mail.epoch,
        "code": code,
        "dsn": outcome.dsn,
    }
    return {
        "delivery": mail.delivery_id,
        "epoch": mail.epoch,
        "message": mail.message_id,
        "account": mail.account_id,
        "attempt": mail.attempt_id,
        "intended": outcome.intended,
        "rendition": mail.rendition_id,
        "recipients": list(mail.recipients),
        "started_at": outcome.started_at,
        "phase": outcome.phase.value,
        "ended_at": now,
        "outcome": word,
        "code": code,
        "error_type": error.type.value if error else None,
        "attempts": mail.attempts + 1,
        "state": (MessageStatus.QUEUED if is_open else status).value,
        "next_attempt_at": outcome.next_attempt_at if is_open else None,
        "tell_at": now if mail.tells and not is_open else None,
        "status": status.value,
        "sent_at": now if status in _SENT_STATES else None,
        "blamed": blamed.value if blamed else None,
        "detail": {name: value for name, value in detail.items() if value is not None},
    }


def _verdicts(outcome: Outcome) -> list[Row]:
    states, delivery_id = outcome.states, outcome.mail.delivery_id
    return [
        {
            "of": delivery_id,
            "number": number,
            "recipient_state": states[number].value,
            "recipient_code": verdict.code,
            "enhanced_code": verdict.enhanced_code,
            "reply": verdict.reply,
        }
        for number, verdict in outcome.verdicts.items()
    ]


def _intent(intent: Intent, now: datetime) -> Row:
    mail = intent.mail
    return {
        "its_delivery": mail.delivery_id,
        "its_epoch": mail.epoch,
        "its_attempt": mail.attempt_id,
        "its_rendition": mail.rendition_id,
        "accepted": list(intent.accepted),
        "begun_at": intent.started_at,
        "intended_at": now,
        "settled": len(mail.settled),
    }


def _count(metrics: Metrics, outcomes: Sequence[Outcome]) -> None:
    """Tell what is committed."""
    recipients, attempts, deliveries = Counter[str](), Counter[tuple[str, str]](), Counter[str]()
    for outcome in outcomes:
        states = outcome.states
        recipients.update(states[n] for n in outcome.verdicts if states[n] not in OPEN_STATES)
        attempts[outcome.word, outcome.error.type.value if outcome.error else ""] += 1
        if not OPEN_STATES.intersection(states.values()):
            deliveries[ledger.status_of(list(states.values()))] += 1
    for state, number in recipients.items():
        metrics.add(RECIPIENTS, number, state=state)
    for (word, error_type), number in attempts.items():
        metrics.add(ATTEMPTS, number, outcome=word, error_type=error_type)
    for status, number in deliveries.items():
        metrics.add(DELIVERIES, number, status=status)
