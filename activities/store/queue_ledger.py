"""The ledger's two writes for many mails at once: intents before the dots, and outcomes.

The same rules as ``activities.store.ledger``, in a few statements for a whole group. Whatever is
out of the ordinary (taken over meanwhile, doubtful from an earlier attempt) goes through the ledger
itself, mail by mail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Integer, insert, update
from sqlmodel import Session, col, select

from activities.store import ledger, queue
from activities.store.bulk import BulkInsert, BulkSelect, BulkUpdate, run_together, table_of
from activities.store.ledger import Verdict
from activities.store.queue import QueuedMail
from activities.store.tallies import tally
from models.delivery import OPEN_STATES, MessageStatus, Phase, RecipientState
from models.errors import ErrorType
from models.failure import Failure
from models.metrics import ATTEMPTS, DELIVERIES, RECIPIENTS, Metric
from models.tables import Attempt, Delivery, LogEntry, Message, Recipient

OWNER = "queue"
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
        return not lost and not self.mail.doubtful

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
    now = datetime.now(UTC)
    connection = session.connection()
    ours = set(
        _OURS.found(
            connection,
            [
                {
                    "key": intent.mail.delivery_id,
                    "held": intent.mail.epoch,
                    "settled": len(intent.mail.settled),
                    "now": now,
                }
                for intent in intents
            ],
        )
    )
    mine = [intent for intent in intents if intent.mail.delivery_id in ours]
    if mine:
        intended = {"phase": Phase.DOT_INTENT, "dot_intent_at": now}
        _NEW_INTENT.run(
            connection,
            [_attempt(i.mail, i.started_at, list(i.accepted)) | intended for i in mine],
        )
    return {intent.mail.attempt_id for intent in mine}


def end(session: Session, outcomes: Sequence[Outcome]) -> None:
    """Commit what became of attempts."""
    rows = _Rows(datetime.now(UTC))
    usual = [outcome for outcome in outcomes if outcome.usual]
    for outcome in usual:
        rows.add(outcome)
    connection = session.connection()
    if not usual or _DELIVERY.run(connection, rows.deliveries) == len(usual):
        rows.write(session)
    else:
        # Somebody has taken one of them over: which, and what that means, is seen one by one. What
        # was changed just now, for those that are ours, is what it will be changed to again.
        usual = []
    for outcome in outcomes:
        if outcome not in usual:
            end_carefully(session, outcome)
    _refresh(session)
    for outcome in rows.unknown if usual else ():
        _plan(session, outcome)


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


@dataclass(slots=True)
class _Rows:
    """What outcomes change, table by table."""

    now: datetime
    unknown: list[Outcome] = field(default_factory=list)
    _recipients: list[dict[str, Any]] = field(default_factory=list)
    _ended: list[dict[str, Any]] = field(default_factory=list)
    _attempts: list[dict[str, Any]] = field(default_factory=list)
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    _log: list[dict[str, Any]] = field(default_factory=list)
    _messages: list[dict[str, Any]] = field(default_factory=list)
    _tallies: list[tuple[Metric, dict[str, str]]] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
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
        self.deliveries.append(
            {
                "key": mail.delivery_id,
                "held": mail.epoch,
                "attempts": mail.attempts + 1,
                "state": MessageStatus.QUEUED if is_open else status,
                "next_attempt_at": outcome.next_attempt_at if is_open else None,
                "tell_at": self.now if mail.tells and not is_open else None,
            }
        )
        sent_at = self.now if status in _SENT_STATES else None
        self._messages.append({"key": mail.message_id, "status": status, "sent_at": sent_at})
        self._tally(outcome, states, None if is_open else status)

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
        kind, words = ledger.blame(error, outcome.verdicts.values())
        detail = {
            **words,
            "attempt": mail.attempts + 1,
            "outcome": outcome.word,
            "phase": outcome.phase.value,
            "epoch": mail.epoch,
            "code": outcome.code,
            "dsn": outcome.dsn,
        }
        self._log.append(
            {
                "at": self.now,
                "account_id": mail.account_id,
                "message_id": mail.message_id,
                "event": "attempt_ended",
                "error_type": kind,
                "detail": {name: value for name, value in detail.items() if value is not None},
            }
        )

    def _tally(
        self,
        outcome: Outcome,
        states: Mapping[int, RecipientState],
        status: MessageStatus | None,
    ) -> None:
        for number in outcome.verdicts:
            if states[number] not in OPEN_STATES:
                self._tallies.append((RECIPIENTS, {"state": states[number].value}))
        error_type = outcome.error.type.value if outcome.error else ""
        self._tallies.append((ATTEMPTS, {"outcome": outcome.word, "error_type": error_type}))
        if status is not None:
            self._tallies.append((DELIVERIES, {"status": status.value}))

    def write(self, session: Session) -> None:
        """Write all but the deliveries."""
        run_together(
            session.connection(),
            (
                (_RECIPIENT, self._recipients),
                (_ENDED, self._ended),
                (_NEW_ATTEMPT, self._attempts),
                (_MESSAGE, self._messages),
                (_NEW_ENTRY, self._log),
            ),
        )
        for metric, labels in self._tallies:
            tally(session, metric, 1, **labels)


_KEY = {"key": "id"}
_TOLD = ("phase", "ended_at", "outcome", "code", "error_type")
_BEGUN = ("id", "delivery_id", "rendition_id", "epoch", "owner", "recipients", "started_at")
_OURS = BulkSelect(
    {
        "key": table_of(Delivery).c.id.type,
        "held": table_of(Delivery).c.epoch.type,
        "settled": Integer(),
        "now": table_of(Delivery).c.leased_until.type,
    },
    "SELECT d.id FROM v JOIN delivery AS d ON d.id = v.key"
    # Who slept past the lease must not race whoever is about to take the mail over.
    " WHERE d.epoch = v.held AND d.leased_until > v.now"
    # Word may have come meanwhile that an earlier attempt has reached somebody.
    " AND v.settled = (SELECT count(*) FROM recipient AS r WHERE r.delivery_id = v.key"
    f" AND r.state NOT IN ({', '.join(repr(state.value) for state in sorted(OPEN_STATES))}))",
    lock="d",
)
_DELIVERY = BulkUpdate(
    Delivery,
    _KEY | {"held": "epoch"},
    ("attempts", "state", "next_attempt_at", "tell_at"),
    cleared=("leased_until",),
)
_RECIPIENT = BulkUpdate(
    Recipient, {"key": "delivery_id", "of": "number"}, ("state", "code", "enhanced_code", "reply")
)
_ENDED = BulkUpdate(Attempt, _KEY, _TOLD)
_MESSAGE = BulkUpdate(Message, _KEY, ("status", "sent_at"), kept=("sent_at",))
_NEW_INTENT = BulkInsert(Attempt, (*_BEGUN, "phase", "dot_intent_at"))
_NEW_ATTEMPT = BulkInsert(Attempt, (*_BEGUN, *_TOLD))
_NEW_ENTRY = BulkInsert(
    LogEntry, ("at", "account_id", "message_id", "event", "error_type", "detail")
)
