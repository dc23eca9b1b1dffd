"""The ledger's two writes for many mails at once: intents before the dots, and outcomes.

The same rules as ``activities.store.ledger``, in a few statements for a whole group. Whatever is
out of the ordinary (taken over meanwhile, doubtful from an earlier attempt) goes through the ledger
itself, mail by mail.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Integer, bindparam, insert, tuple_, update
from sqlmodel import Session, SQLModel, col, select

from activities.store import ledger, queue
from activities.store.ledger import Verdict
from activities.store.queue import QueuedMail
from activities.store.tallies import tally
from models.delivery import OPEN_STATES, MessageStatus, Phase, RecipientState
from models.errors import ErrorType
from models.failure import Failure
from models.metrics import ATTEMPTS, DELIVERIES, RECIPIENTS
from models.tables import Attempt, Delivery, LogEntry, Message, Recipient

OWNER = "queue"
_SENT_STATES = (MessageStatus.SENT, MessageStatus.PARTIALLY_SENT)
_OPEN = [state.value for state in OPEN_STATES]


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
        intended: Whether its intent stands in the ledger.
        next_attempt_at: When recipients that are still open are tried again; None = never.
        verify_at: When one of unknown outcome is looked for in the Sent folder.
    """

    mail: QueuedMail
    verdicts: Mapping[int, Verdict]
    phase: Phase
    error: Failure | None
    started_at: datetime
    intended: bool
    next_attempt_at: datetime | None
    verify_at: datetime

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


def intend(session: Session, intents: Sequence[Intent]) -> set[str]:
    """Commit intents; returns the attempts whose dot may be sent, the others are not ours."""
    held = _hold(session, [intent.mail for intent in intents])
    settled = {
        (row.delivery_id, row.number)
        for row in session.connection().execute(
            select(Recipient.delivery_id, Recipient.number).where(
                col(Recipient.delivery_id).in_(held), col(Recipient.state).not_in(_OPEN)
            )
        )
    }
    mine = [
        intent
        for intent in intents
        if intent.mail.delivery_id in held
        # Word may have come meanwhile that an earlier attempt has reached one of them.
        and not any((intent.mail.delivery_id, number) in settled for number in intent.accepted)
    ]
    if mine:
        now = datetime.now(UTC)
        intended = {"phase": Phase.DOT_INTENT, "dot_intent_at": now}
        session.connection().execute(
            insert(Attempt),
            [_attempt(i.mail, i.started_at, list(i.accepted)) | intended for i in mine],
        )
    return {intent.mail.attempt_id for intent in mine}


def end(session: Session, outcomes: Sequence[Outcome]) -> None:
    """Commit what became of attempts."""
    held = _hold(session, [outcome.mail for outcome in outcomes])
    rows = _Rows(datetime.now(UTC))
    for outcome in outcomes:
        ours = outcome.mail.delivery_id in held
        if outcome.error and outcome.error.type is ErrorType.LEASE_LOST:
            if ours:
                queue.take_over(session, outcome.mail.delivery_id, rows.now)
        elif ours and not outcome.mail.doubtful:
            rows.add(session, outcome)
        else:
            _end_carefully(session, outcome, late=not ours)
    rows.write(session)
    for outcome in rows.unknown:
        session.expire_all()
        _plan(session, outcome)


def _hold(session: Session, mails: Sequence[QueuedMail]) -> set[str]:
    """Ids of the deliveries that are still ours, their rows locked."""
    # An UPDATE, not a SELECT: it takes the locks and tells in one step who holds the epochs.
    wanted = [(mail.delivery_id, mail.epoch) for mail in mails]
    found = session.connection().execute(
        update(Delivery)
        .where(tuple_(col(Delivery.id), col(Delivery.epoch)).in_(wanted))
        .values(state=MessageStatus.SENDING)
        .returning(col(Delivery.id))
    )
    return {row.id for row in found}


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


def _end_carefully(session: Session, outcome: Outcome, *, late: bool) -> None:
    mail = outcome.mail
    if not outcome.intended:
        attempt = _attempt(mail, outcome.started_at, list(mail.recipients))
        session.connection().execute(insert(Attempt), [attempt])
    ledger.end_attempt(session, mail, outcome.verdicts, outcome.phase, outcome.error)
    if late:
        return  # whoever took it over decides what comes next
    session.connection().execute(
        update(Delivery)
        .where(col(Delivery.id) == mail.delivery_id)
        .values(attempts=mail.attempts + 1)
    )
    session.expire_all()
    if outcome.next_attempt_at is None:
        ledger.close(session, mail.delivery_id, outcome.error)
    _plan(session, outcome)


def _plan(session: Session, outcome: Outcome) -> None:
    when = outcome.next_attempt_at or datetime.now(UTC)
    queue.plan_next(session, outcome.mail.delivery_id, when, verify_at=outcome.verify_at)


@dataclass(slots=True)
class _Rows:
    """What outcomes change, table by table."""

    now: datetime
    unknown: list[Outcome] = field(default_factory=list)
    _recipients: list[dict[str, Any]] = field(default_factory=list)
    _ended: list[dict[str, Any]] = field(default_factory=list)
    _attempts: list[dict[str, Any]] = field(default_factory=list)
    _deliveries: list[dict[str, Any]] = field(default_factory=list)
    _log: list[dict[str, Any]] = field(default_factory=list)
    _statuses: dict[MessageStatus, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, session: Session, outcome: Outcome) -> None:
        mail, states = outcome.mail, outcome.states
        status = ledger.status_of(list(states.values()))
        is_open = bool(OPEN_STATES.intersection(states.values()))
        if outcome.word == "unknown":
            self.unknown.append(outcome)
        self._recipients += [
            {
                "key": mail.delivery_id,
                "of": number,
                "state": states[number],
                "code": verdict.code,
                "enhanced_code": verdict.enhanced_code,
                "reply": verdict.reply,
            }
            for number, verdict in outcome.verdicts.items()
        ]
        self._add_attempt(outcome)
        self._deliveries.append(
            {
                "key": mail.delivery_id,
                "attempts": mail.attempts + 1,
                "state": MessageStatus.QUEUED if is_open else status,
                "next_attempt_at": outcome.next_attempt_at if is_open else None,
            }
        )
        self._statuses[status].append(mail.message_id)
        self._tally(session, outcome, states, None if is_open else status)

    def _add_attempt(self, outcome: Outcome) -> None:
        mail, error = outcome.mail, outcome.error
        ended = {
            "phase": outcome.phase,
            "ended_at": self.now,
            "outcome": outcome.word,
            "code": outcome.code,
            "error_type": error.type if error else None,
        }
        if outcome.intended:
            self._ended.append({"key": mail.attempt_id} | ended)
        else:
            attempt = _attempt(mail, outcome.started_at, list(mail.recipients))
            self._attempts.append(attempt | ended)
        detail = {
            "attempt": mail.attempts + 1,
            "outcome": outcome.word,
            "phase": outcome.phase.value,
            "epoch": mail.epoch,
        }
        if outcome.code is not None:
            detail["code"] = outcome.code
        self._log.append(
            {
                "at": self.now,
                "account_id": mail.account_id,
                "message_id": mail.message_id,
                "event": "attempt_ended",
                "error_type": ended["error_type"],
                "detail": detail,
            }
        )

    @staticmethod
    def _tally(
        session: Session,
        outcome: Outcome,
        states: Mapping[int, RecipientState],
        status: MessageStatus | None,
    ) -> None:
        for number in outcome.verdicts:
            if states[number] not in OPEN_STATES:
                tally(session, RECIPIENTS, state=states[number].value)
        error_type = outcome.error.type if outcome.error else ""
        tally(session, ATTEMPTS, outcome=outcome.word, error_type=error_type)
        if status is not None:
            tally(session, DELIVERIES, status=status.value)

    def write(self, session: Session) -> None:
        connection = session.connection()
        for statement, rows in (
            (_RECIPIENT, self._recipients),
            (_ENDED, self._ended),
            (insert(Attempt), self._attempts),
            (_DELIVERY, self._deliveries),
            (insert(LogEntry), self._log),
        ):
            if rows:
                connection.execute(statement, rows)
        for status, ids in self._statuses.items():
            values: dict[str, Any] = {"status": status}
            if status in _SENT_STATES:
                values["sent_at"] = self.now
            connection.execute(update(Message).where(col(Message.id).in_(ids)).values(**values))


def _by_key(table: type[SQLModel], column: str, *values: str, **also: Any) -> Any:
    """An UPDATE for many rows, made once: making a statement costs more than running it."""
    columns = SQLModel.metadata.tables[str(table.__tablename__)].c
    changed = {name: bindparam(name, type_=columns[name].type) for name in values}
    return (
        update(columns[column].table)
        .where(columns[column] == bindparam("key"))
        .values(**changed, **also)
    )


_RECIPIENT = _by_key(Recipient, "delivery_id", "state", "code", "enhanced_code", "reply").where(
    SQLModel.metadata.tables["recipient"].c.number == bindparam("of", type_=Integer)
)
_ENDED = _by_key(Attempt, "id", "phase", "ended_at", "outcome", "code", "error_type")
_DELIVERY = _by_key(Delivery, "id", "attempts", "state", "next_attempt_at", leased_until=None)
