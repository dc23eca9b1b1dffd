"""Named points around the real steps, put into a worker under test from outside.

Production code knows nothing of them: ``install`` wraps functions of the repositories and methods
of the adapters in the process that calls it. A step that has been renamed fails there, aloud.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from weakref import WeakSet

from sqlalchemy import event
from sqlmodel import Session

from activities import sending
from activities.mail.imap import ImapMailbox
from activities.mail.imap_wire import Wire
from activities.mail.smtp import ClientSession
from activities.mail.smtp_wire import SmtpWire
from activities.replication.fetching import Fetching
from activities.store import (
    inbox,
    ledger,
    mailboxes,
    outbox,
    queue,
    queue_ledger,
    sent_copies,
    slots,
)
from activities.store.content import ContentStore
from activities.store.engine import Database
from activities.store.ledger import AttemptTicket
from activities.store.queue_ledger import Intent, Outcome, Recorded
from activities.transmitting.drainer import Drainer
from tests.chaos.control import Control

SENDING = (
    "compose.before_commit",
    "compose.committed",
    "attempt.started",
    "begin_attempt.before_commit",
    "begin_attempt.committed",
    "smtp.connected",
    "smtp.mail",
    "smtp.rcpt",
    "smtp.in_body",
    "smtp.body",
    "intend_dot.before_commit",
    "intend_dot.committed",
    "smtp.before_dot",
    "smtp.dot",
    "smtp.reply",
    "end_attempt.before_commit",
    "end_attempt.committed",
    "report.read",
    "take_over.before_commit",
    "take_over.committed",
)
"""In order. The dangerous part reaches from ``intend_dot`` to ``end_attempt``."""

DRAINING = (
    "drain.started",
    "lease.before_commit",
    "lease.committed",
    "slots.committed",
    "smtp.connected",
    "reached.committed",
    "smtp.mail",
    "smtp.rcpt",
    "smtp.in_body",
    "smtp.body",
    "intents.before_commit",
    "intents.committed",
    "smtp.before_dot",
    "smtp.dot",
    "smtp.reply",
    "outcomes.before_commit",
    "outcomes.committed",
    "renew.before_commit",
    "renew.committed",
    "give_back.before_commit",
    "give_back.committed",
    "drain.ended",
    "take_over_lease.before_commit",
    "take_over_lease.committed",
)
"""In order; leases are renewed all the time, and given back at the end of a round."""

RETRIEVING = (
    "take_folder.before_commit",
    "take_folder.committed",
    "add_retrieval.before_commit",
    "add_retrieval.committed",
    "mails.fetched",
    "content.durable",
    "inbox.before_commit",
    "inbox.committed",
    "add_batch.before_commit",
    "add_batch.committed",
    "acknowledge.before_commit",
    "acknowledge.committed",
    "begin_step.committed",
    "move.before",
    "move.sent",
    "move.after",
    "mark_handled.before_commit",
    "mark_handled.committed",
    "settle.before_commit",
    "settle.committed",
    "close.before_commit",
    "close.committed",
)
"""In order."""

_WRITES: dict[str, tuple[Any, str]] = {
    "compose": (outbox, "insert"),
    "begin_attempt": (ledger, "begin_attempt"),
    "intend_dot": (ledger, "intend_dot"),
    "end_attempt": (ledger, "end_attempt"),
    "take_over": (ledger, "take_over"),
    "lease": (queue, "lease"),
    "slots": (slots, "take_all"),
    "reached": (queue, "reached"),
    "outcome": (queue_ledger, "end_carefully"),
    "renew": (queue, "renew"),
    "give_back": (queue, "give_back"),
    "take_over_lease": (queue, "take_over"),
    "take_folder": (mailboxes, "take_folder"),
    "add_retrieval": (mailboxes, "add_retrieval"),
    "inbox": (inbox, "insert"),
    "add_batch": (mailboxes, "add_batch"),
    "acknowledge": (mailboxes, "acknowledge"),
    "begin_step": (mailboxes, "begin_step"),
    "mark_handled": (mailboxes, "mark_handled"),
    "settle": (mailboxes, "settle"),
    "close": (mailboxes, "end_retrieval"),
    "sent_copy": (sent_copies, "settle"),
}
"""Repository functions whose transactions have a point before and one after the commit."""

_DONE = "chaos: writes of this transaction"


def install(control: Control) -> None:
    """Wrap the steps of this process."""
    for name, (owner, attribute) in _WRITES.items():
        _replace(owner, attribute, functools.partial(_noted, name))
    event.listen(Session, "before_commit", functools.partial(_before_commit, control))
    event.listen(Session, "after_commit", functools.partial(_after_commit, control))
    _replace(queue_ledger, "record", functools.partial(_recorded, control))
    _around_smtp(control)
    _around_imap(control)


def _replace(owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
    setattr(owner, name, wrap(getattr(owner, name)))


# --- transactions -----------------------------------------------------------------------------


def _noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def noted(session: Session, *args: Any, **kwargs: Any) -> Any:
        result = function(session, *args, **kwargs)
        session.info.setdefault(_DONE, []).append((name, args, result))
        return result

    return noted


def _points(session: Session) -> list[str]:
    return list(dict.fromkeys(name for name, _, _ in session.info.get(_DONE, [])))


def _begun(session: Session) -> Iterator[AttemptTicket]:
    """Attempts whose dot comes next."""
    for name, args, _ in session.info.get(_DONE, []):
        if name == "intend_dot":
            yield args[0]


def _ended(session: Session) -> Iterator[AttemptTicket]:
    """Attempts whose outcome is written down."""
    for name, args, _ in session.info.get(_DONE, []):
        if name == "end_attempt":
            yield args[0]
        elif name == "outcome":
            yield args[0].mail


def _recorded(control: Control, function: Callable[..., Recorded]) -> Callable[..., Recorded]:
    """A group of the queue, which is committed without a session."""

    def recorded(
        database: Database, outcomes: Sequence[Outcome], intents: Sequence[Intent]
    ) -> Recorded:
        names = [n for n, group in (("intents", intents), ("outcomes", outcomes)) if group]
        for intent in intents:
            control.mark("intent", intent.mail.attempt_id, intent.mail.delivery_id)
        for name in names:
            control.hit(f"{name}.before_commit")
        result = function(database, outcomes, intents)
        for outcome in outcomes:
            if outcome not in result.left:
                control.mark("end", outcome.mail.attempt_id, outcome.mail.delivery_id)
        for name in names:
            control.hit(f"{name}.committed")
        return result

    return recorded


def _before_commit(control: Control, session: Session) -> None:
    if session.in_nested_transaction():
        return
    for ticket in _begun(session):
        control.mark("intent", ticket.attempt_id, ticket.delivery_id)
    for name in _points(session):
        control.hit(f"{name}.before_commit")


def _after_commit(control: Control, session: Session) -> None:
    if session.in_nested_transaction():
        return
    for ticket in _ended(session):
        control.mark("end", ticket.attempt_id, ticket.delivery_id)
    names = _points(session)
    session.info.pop(_DONE, None)
    for name in names:
        control.hit(f"{name}.committed")


# --- the wire ---------------------------------------------------------------------------------


def _around_smtp(control: Control) -> None:
    pipelined: WeakSet[Any] = WeakSet()

    def first(function: Callable[..., Any]) -> Callable[..., Any]:
        def attempt_id(delivery_id: str) -> Any:
            control.hit("attempt.started")
            return function(delivery_id)

        return attempt_id

    def drain(method: Callable[..., Any]) -> Callable[..., Any]:
        async def drained(*args: Any, **kwargs: Any) -> Any:
            control.hit("drain.started")
            result = await method(*args, **kwargs)
            control.hit("drain.ended")
            return result

        return drained

    def then(point: str) -> Callable[[Any], Any]:
        def wrap(method: Callable[..., Any]) -> Callable[..., Any]:
            async def called(*args: Any, **kwargs: Any) -> Any:
                result = await method(*args, **kwargs)
                control.hit(point)
                return result

            return called

        return wrap

    def mail(method: Callable[..., Any]) -> Callable[..., Any]:
        async def command(self: Any, *words: bytes, **kwargs: Any) -> Any:
            reply = await method(self, *words, **kwargs)
            if words[0].startswith(b"MAIL"):
                control.hit("smtp.mail")
            return reply

        return command

    def post(method: Callable[..., Any]) -> Callable[..., Any]:
        def posted(self: Any, lines: Any) -> None:
            method(self, lines)
            pipelined.add(self)

        return posted

    def answer(method: Callable[..., Any]) -> Callable[..., Any]:
        async def reply(self: Any) -> Any:
            result = await method(self)
            if self in pipelined:  # the first reply is the one to MAIL
                pipelined.discard(self)
                control.hit("smtp.mail")
            return result

        return reply

    def halved(method: Callable[..., Any]) -> Callable[..., Any]:
        async def write(self: Any, data: bytes) -> None:
            half = len(data) // 2
            await method(self, data[:half])
            control.hit("smtp.in_body")
            await method(self, data[half:])

        return write

    def final(method: Callable[..., Any]) -> Callable[..., Any]:
        async def end_of_data(*args: Any, **kwargs: Any) -> Any:
            control.hit("smtp.before_dot")
            reply = await method(*args, **kwargs)
            control.hit("smtp.reply")
            return reply

        return end_of_data

    def dot(method: Callable[..., Any]) -> Callable[..., Any]:
        def finish(*args: Any, **kwargs: Any) -> Any:
            method(*args, **kwargs)
            control.hit("smtp.dot")

        return finish

    _replace(Drainer, "drain", drain)
    _replace(sending, "_attempt_id", first)
    _replace(sending.SendingActivities, "_report", then("report.read"))
    _replace(ClientSession, "open", then("smtp.connected"))
    _replace(ClientSession, "envelope", then("smtp.rcpt"))
    _replace(ClientSession, "body", then("smtp.body"))
    _replace(ClientSession, "end_of_data", final)
    _replace(SmtpWire, "command", mail)
    _replace(SmtpWire, "post", post)
    _replace(SmtpWire, "reply", answer)
    _replace(SmtpWire, "write", halved)
    _replace(SmtpWire, "finish", dot)


def _around_imap(control: Control) -> None:
    def store(method: Callable[..., Any]) -> Callable[..., Any]:
        def fetched(*args: Any, **kwargs: Any) -> Any:
            control.hit("mails.fetched")
            return method(*args, **kwargs)

        return fetched

    def prepare(method: Callable[..., Any]) -> Callable[..., Any]:
        def prepared(*args: Any, **kwargs: Any) -> Any:
            rows = method(*args, **kwargs)
            if any(row["data"] is None for row in rows):
                control.hit("content.durable")
            return rows

        return prepared

    def move(method: Callable[..., Any]) -> Callable[..., Any]:
        def moved(*args: Any, **kwargs: Any) -> None:
            control.hit("move.before")
            method(*args, **kwargs)
            control.hit("move.after")

        return moved

    def send(method: Callable[..., Any]) -> Callable[..., Any]:
        def sent(self: Any, data: bytes) -> None:
            method(self, data)
            if b" MOVE " in data:
                control.hit("move.sent")

        return sent

    _replace(Fetching, "_store", store)
    _replace(ContentStore, "prepare", prepare)
    _replace(ImapMailbox, "move", move)
    _replace(Wire, "send", send)
