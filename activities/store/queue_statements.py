"""What the queue writes for a group of mails, in the words of each database.

PostgreSQL gets all of it as one statement, which is a transaction of its own: a round trip for a
group, however many mails it has. SQLite, which has no round trips, runs one statement after the
other within its transaction. Both go past SQLAlchemy, which would take longer than the database.

An outcome is written only if nobody has taken its mail over (the epoch is still ours); an intent
only if, beyond that, its lease has not run out and no word has come of an earlier attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from models.delivery import OPEN_STATES, Phase

OWNER = "queue"
"""Who makes the queue's attempts."""
Row = Mapping[str, Any]

_OPEN = ", ".join(repr(state.value) for state in sorted(OPEN_STATES))
_ENDED = {
    "delivery": "text",
    "epoch": "int",
    "message": "text",
    "account": "text",
    "attempt": "text",
    "intended": "bool",
    "rendition": "text",
    "recipients": "json",
    "started_at": "timestamptz",
    "phase": "text",
    "ended_at": "timestamptz",
    "outcome": "text",
    "code": "int",
    "error_type": "text",
    "attempts": "int",
    "state": "text",
    "next_attempt_at": "timestamptz",
    "tell_at": "timestamptz",
    "status": "text",
    "sent_at": "timestamptz",
    "blamed": "text",
    "detail": "json",
}
_VERDICT = {
    "of": "text",
    "number": "int",
    "recipient_state": "text",
    "recipient_code": "int",
    "enhanced_code": "text",
    "reply": "text",
}
_INTENT = {
    "its_delivery": "text",
    "its_epoch": "int",
    "its_attempt": "text",
    "its_rendition": "text",
    "accepted": "json",
    "begun_at": "timestamptz",
    "intended_at": "timestamptz",
    "settled": "int",
}
_NO_ATTEMPT = "delivery_id, rendition_id, epoch, owner, recipients, started_at, phase"


@dataclass(frozen=True, slots=True)
class Rows:
    """What is to be written; the keys are those of ``_ENDED``, ``_VERDICT`` and ``_INTENT``."""

    ended: Sequence[Row]
    verdicts: Sequence[Row]
    intents: Sequence[Row]


def write_sqlite(cursor: Any, rows: Rows) -> tuple[set[str], set[str]]:
    """Write what is ours; returns the deliveries of outcomes and of intents that were.

    The cursor is within a transaction that nobody else can write beside.
    """
    ended, intended = set[str](), set[str]()
    ours: list[Row] = []
    for row in map(_plain, rows.ended):
        cursor.execute(_SQLITE_DELIVERY, row)
        if cursor.rowcount:
            ended.add(row["delivery"])
            ours.append(row)
    cursor.executemany(_SQLITE_RECIPIENT, [row for row in rows.verdicts if row["of"] in ended])
    cursor.executemany(_SQLITE_ATTEMPT, [row for row in ours if row["intended"]])
    cursor.executemany(_SQLITE_NEW_ATTEMPT, [row for row in ours if not row["intended"]])
    cursor.executemany(_SQLITE_MESSAGE, ours)
    cursor.executemany(_SQLITE_ENTRY, ours)
    for row in map(_plain, rows.intents):
        cursor.execute(_SQLITE_INTENT, row)
        if cursor.rowcount:
            intended.add(row["its_delivery"])
    return ended, intended


def write_postgresql(cursor: Any, rows: Rows) -> tuple[set[str], set[str]]:
    """Write what is ours; returns the deliveries of outcomes and of intents that were.

    The cursor's connection commits each statement.
    """
    values = {
        "ended": _document(rows.ended),
        "verdicts": _document(rows.verdicts),
        "intents": _document(rows.intents),
    }
    cursor.execute(_POSTGRESQL, values, prepare=True)
    found: list[tuple[bool, str]] = cursor.fetchall()
    return (
        {delivery for is_intent, delivery in found if not is_intent},
        {delivery for is_intent, delivery in found if is_intent},
    )


def _plain(row: Row) -> dict[str, Any]:
    """A row as SQLAlchemy stores it in SQLite, which knows neither instants nor documents."""
    return {
        name: fit(value) if (fit := _FIT.get(type(value))) else value for name, value in row.items()
    }


def _instant(value: datetime) -> str:
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _document(value: Any) -> str:
    return to_json(value).decode()


_FIT: dict[type, Callable[[Any], str]] = {datetime: _instant, list: _document, dict: _document}


def _records(parameter: str, columns: Mapping[str, str], number: str) -> str:
    """The rows of a JSON document: psycopg would take longer to write an array for each column.

    Of a document the planner expects a hundred rows, for which it would rather read whole tables;
    that ``number`` is within two bounds, which is always so, makes it expect very few.
    """
    typed = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    return (
        f"SELECT * FROM json_to_recordset(%({parameter})s) AS t ({typed})"  # noqa: S608 - our words
        f" WHERE {number} >= 0 AND {number} <= {2**31 - 1}"
    )


_SQLITE_DELIVERY = """
UPDATE delivery SET attempts = :attempts, state = :state, next_attempt_at = :next_attempt_at,
  tell_at = :tell_at, leased_until = NULL
WHERE id = :delivery AND epoch = :epoch
"""
_SQLITE_RECIPIENT = """
UPDATE recipient SET state = :recipient_state, code = :recipient_code,
  enhanced_code = :enhanced_code, reply = :reply
WHERE delivery_id = :of AND number = :number
"""
_SQLITE_ATTEMPT = """
UPDATE attempt SET phase = :phase, ended_at = :ended_at, outcome = :outcome, code = :code,
  error_type = :error_type
WHERE id = :attempt
"""
_SQLITE_NEW_ATTEMPT = f"""
INSERT INTO attempt (id, {_NO_ATTEMPT}, ended_at, outcome, code, error_type)
VALUES (:attempt, :delivery, :rendition, :epoch, '{OWNER}', :recipients, :started_at, :phase,
  :ended_at, :outcome, :code, :error_type)
"""  # noqa: S608 - words of ours
_SQLITE_MESSAGE = """
UPDATE message SET status = :status, sent_at = coalesce(:sent_at, sent_at) WHERE id = :message
"""
_SQLITE_ENTRY = """
INSERT INTO log_entry (at, account_id, message_id, event, error_type, detail)
VALUES (:ended_at, :account, :message, 'attempt_ended', :blamed, :detail)
"""
_SQLITE_INTENT = f"""
INSERT INTO attempt (id, {_NO_ATTEMPT}, dot_intent_at)
SELECT :its_attempt, id, :its_rendition, epoch, '{OWNER}', :accepted, :begun_at,
  '{Phase.DOT_INTENT.value}', :intended_at
FROM delivery
WHERE id = :its_delivery AND epoch = :its_epoch AND leased_until > :intended_at AND :settled = (
  SELECT count(*) FROM recipient WHERE delivery_id = :its_delivery AND state NOT IN ({_OPEN}))
"""  # noqa: S608 - words of ours
_POSTGRESQL = f"""
WITH
o AS ({_records("ended", _ENDED, "epoch")}),
v AS ({_records("verdicts", _VERDICT, "number")}),
i AS ({_records("intents", _INTENT, "its_epoch")}),
ours AS (
  UPDATE delivery AS t SET attempts = o.attempts, state = o.state,
    next_attempt_at = o.next_attempt_at, tell_at = o.tell_at, leased_until = NULL
  FROM o WHERE t.id = o.delivery AND t.epoch = o.epoch RETURNING t.id
),
judged AS (
  UPDATE recipient AS t SET state = v.recipient_state, code = v.recipient_code,
    enhanced_code = v.enhanced_code, reply = v.reply
  FROM v JOIN ours ON ours.id = v."of" WHERE t.delivery_id = v."of" AND t.number = v.number
),
ended AS (
  UPDATE attempt AS t SET phase = o.phase, ended_at = o.ended_at, outcome = o.outcome,
    code = o.code, error_type = o.error_type
  FROM o JOIN ours ON ours.id = o.delivery WHERE t.id = o.attempt AND o.intended
),
begun AS (
  INSERT INTO attempt (id, {_NO_ATTEMPT}, ended_at, outcome, code, error_type)
  SELECT o.attempt, o.delivery, o.rendition, o.epoch, '{OWNER}', o.recipients, o.started_at,
    o.phase, o.ended_at, o.outcome, o.code, o.error_type
  FROM o JOIN ours ON ours.id = o.delivery WHERE NOT o.intended
),
restated AS (
  UPDATE message AS t SET status = o.status, sent_at = coalesce(o.sent_at, t.sent_at)
  FROM o JOIN ours ON ours.id = o.delivery WHERE t.id = o.message
),
logged AS (
  INSERT INTO log_entry (at, account_id, message_id, event, error_type, detail)
  SELECT o.ended_at, o.account, o.message, 'attempt_ended', o.blamed, o.detail
  FROM o JOIN ours ON ours.id = o.delivery
),
mine AS (
  SELECT i.* FROM i JOIN delivery AS t ON t.id = i.its_delivery
  WHERE t.epoch = i.its_epoch AND t.leased_until > i.intended_at AND i.settled = (
    SELECT count(*) FROM recipient AS r
    WHERE r.delivery_id = i.its_delivery AND r.state NOT IN ({_OPEN}))
  FOR UPDATE OF t
),
intended AS (
  INSERT INTO attempt (id, {_NO_ATTEMPT}, dot_intent_at)
  SELECT its_attempt, its_delivery, its_rendition, its_epoch, '{OWNER}', accepted, begun_at,
    '{Phase.DOT_INTENT.value}', intended_at
  FROM mine
)
SELECT false, id FROM ours UNION ALL SELECT true, its_delivery FROM mine
"""  # noqa: S608 - words of ours
