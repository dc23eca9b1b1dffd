"""The ledger of sending: who may transmit, and what a lost attempt is called."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence

import pytest
from sqlmodel import select

from activities.store import ledger
from activities.store.engine import Database
from activities.store.ledger import AttemptTicket, Verdict
from models.delivery import DeliveryReport, MessageStatus, Phase, RecipientState
from models.errors import ConnectorError, ErrorType
from models.failure import Failure
from models.tables import Attempt, Delivery, LogEntry, Message
from tests.unit.store_kit import account_id, database, queued

__all__ = ["account_id", "database"]

SENT, FAILED, DEFERRED, UNKNOWN, PENDING, CANCELLED = (
    RecipientState.SENT,
    RecipientState.FAILED,
    RecipientState.DEFERRED,
    RecipientState.UNKNOWN,
    RecipientState.PENDING,
    RecipientState.CANCELLED,
)
ACCEPTED = Verdict(SENT, 250, "2.0.0", "ok")
REFUSED = Verdict(FAILED, 550, "5.1.1", "no such user")
LATER = Verdict(DEFERRED, 451, "4.7.1", "later")


class Mail:
    """A queued mail to three recipients, and what can be done with it."""

    def __init__(self, database: Database, account_id: str) -> None:
        self.database = database
        self.delivery_id = queued(database, account_id, [f"r{n}@example.net" for n in range(3)])

    def begin(self, owner: str = "worker") -> AttemptTicket:
        with self.database.write() as session:
            ticket = ledger.begin_attempt(session, self.delivery_id, str(uuid.uuid4()), owner)
        assert ticket is not None
        return ticket

    def intend(self, ticket: AttemptTicket, accepted: Sequence[int] = (0, 1, 2)) -> None:
        with self.database.write() as session:
            ledger.intend_dot(session, ticket, accepted)

    def end(
        self,
        ticket: AttemptTicket,
        verdicts: dict[int, Verdict],
        phase: Phase = Phase.DONE,
        error: Failure | None = None,
    ) -> None:
        with self.database.write() as session:
            ledger.end_attempt(session, ticket, verdicts, phase, error)

    def fence(self) -> None:
        with self.database.write() as session:
            ledger.fence(session, self.delivery_id, "somebody else")

    def reopen(self) -> None:
        with self.database.write() as session:
            ledger.reopen_unknown(session, self.delivery_id)

    def close(self, *, cancelled: bool = False) -> None:
        with self.database.write() as session:
            ledger.close(session, self.delivery_id, None, cancelled=cancelled)

    @property
    def report(self) -> DeliveryReport:
        with self.database.read() as session:
            return ledger.report(session, self.delivery_id)

    @property
    def states(self) -> list[RecipientState]:
        return [r.state for r in self.report.recipients]

    @property
    def statuses(self) -> set[str]:
        """What message and delivery say."""
        with self.database.read() as session:
            delivery = session.exec(select(Delivery).where(Delivery.id == self.delivery_id)).one()
            message = session.exec(select(Message).where(Message.id == delivery.message_id)).one()
            return {delivery.state, message.status}

    @property
    def outcomes(self) -> list[str | None]:
        with self.database.read() as session:
            attempts = session.exec(
                select(Attempt).where(Attempt.delivery_id == self.delivery_id)
            ).all()
            return [a.outcome for a in sorted(attempts, key=lambda a: a.epoch)]

    @property
    def events(self) -> list[str]:
        with self.database.read() as session:
            delivery = session.exec(select(Delivery).where(Delivery.id == self.delivery_id)).one()
            entries = session.exec(
                select(LogEntry).where(LogEntry.message_id == delivery.message_id)
            ).all()
            return [e.event for e in sorted(entries, key=lambda e: e.id or 0)]


@pytest.fixture
def mail(database: Database, account_id: str) -> Mail:
    return Mail(database, account_id)


def assert_lost(action: object, *arguments: object) -> None:
    assert callable(action)
    with pytest.raises(ConnectorError) as caught:
        action(*arguments)
    assert caught.value.type is ErrorType.LEASE_LOST
    assert not caught.value.temporary


class TestOneAttempt:
    def test_everything_is_accepted(self, mail: Mail) -> None:
        ticket = mail.begin()
        assert list(ticket.recipients.values()) == [f"r{n}@example.net" for n in range(3)]
        assert mail.statuses == {MessageStatus.SENDING}
        mail.intend(ticket)
        mail.end(ticket, dict.fromkeys(range(3), ACCEPTED))
        assert mail.states == [SENT] * 3
        assert mail.statuses == {MessageStatus.SENT}
        assert mail.outcomes == ["sent"]
        assert mail.report.sent_at is not None
        assert (mail.report.recipients[0].code, mail.report.recipients[0].reply) == (250, "ok")
        assert mail.events == ["message_composed", "attempt_started", "attempt_ended"]

    def test_each_recipient_has_its_own_state(self, mail: Mail) -> None:
        ticket = mail.begin()
        mail.intend(ticket, [0])
        mail.end(ticket, {0: ACCEPTED, 1: LATER, 2: REFUSED})
        assert mail.states == [SENT, DEFERRED, FAILED]
        assert mail.statuses == {MessageStatus.QUEUED}
        assert mail.report.open

        # Only the one that was put off is tried again.
        again = mail.begin()
        assert list(again.recipients) == [1]
        mail.intend(again, [1])
        mail.end(again, {1: ACCEPTED})
        assert mail.states == [SENT, SENT, FAILED]
        assert mail.statuses == {MessageStatus.PARTIALLY_SENT}
        assert mail.report.attempts == 2
        assert not mail.report.open

    def test_nobody_is_left(self, mail: Mail) -> None:
        ticket = mail.begin()
        mail.intend(ticket)
        mail.end(ticket, dict.fromkeys(range(3), ACCEPTED))
        with mail.database.write() as session:
            assert ledger.begin_attempt(session, mail.delivery_id, "x", "worker") is None
        assert mail.report.attempts == 1

    def test_a_delivery_that_is_not_there(self, database: Database) -> None:
        with pytest.raises(ConnectorError) as caught, database.write() as session:
            ledger.begin_attempt(session, "nothing", "x", "worker")
        assert caught.value.type is ErrorType.MESSAGE_NOT_FOUND


class TestTakingOver:
    def test_the_loser_may_not_write_its_dot(self, mail: Mail) -> None:
        first = mail.begin("first")
        second = mail.begin("second")
        assert second.epoch > first.epoch
        assert_lost(mail.intend, first)
        assert mail.outcomes == ["not_sent", None]
        mail.intend(second)
        mail.end(second, dict.fromkeys(range(3), ACCEPTED))
        assert mail.statuses == {MessageStatus.SENT}

    def test_without_intent_nothing_was_sent(self, mail: Mail) -> None:
        mail.begin()
        mail.fence()
        assert mail.states == [PENDING] * 3
        assert mail.statuses == {MessageStatus.QUEUED}
        assert mail.outcomes == ["not_sent"]
        assert "attempt_lost" in mail.events

    def test_a_withdrawn_intent_is_none(self, mail: Mail) -> None:
        ticket = mail.begin()
        mail.intend(ticket)
        with mail.database.write() as session:
            ledger.withdraw_dot(session, ticket)
        mail.fence()
        assert mail.states == [PENDING] * 3
        assert mail.outcomes == ["not_sent"]

        late = mail.begin()
        mail.intend(late)
        mail.fence()

        def withdraw() -> None:
            with mail.database.write() as session:
                ledger.withdraw_dot(session, late)

        assert_lost(withdraw)

    def test_intent_without_outcome_is_unknown(self, mail: Mail) -> None:
        ticket = mail.begin()
        mail.intend(ticket, [0, 2])
        mail.fence()
        # The second recipient was not accepted, so the mail cannot have reached it.
        assert mail.states == [UNKNOWN, PENDING, UNKNOWN]
        assert mail.statuses == {MessageStatus.UNKNOWN}
        assert mail.outcomes == ["unknown"]
        # It is held: only who was not reached is tried again.
        assert list(mail.begin().recipients) == [1]

    def test_a_broken_connection_is_the_same(self, mail: Mail) -> None:
        ticket = mail.begin()
        mail.intend(ticket)
        mail.end(ticket, dict.fromkeys(range(3), Verdict(UNKNOWN)), Phase.DOT)
        assert mail.statuses == {MessageStatus.UNKNOWN}
        assert mail.outcomes == ["unknown"]

    def test_only_one_of_many_gets_to_its_dot(self, mail: Mail) -> None:
        tickets = [mail.begin(f"worker {n}") for n in range(8)]
        gate = threading.Barrier(len(tickets))
        through: list[int] = []

        def race(number: int) -> None:
            gate.wait()
            try:
                mail.intend(tickets[number])
            except ConnectorError:
                return
            through.append(number)

        threads = [threading.Thread(target=race, args=(n,)) for n in range(len(tickets))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert through == [len(tickets) - 1]


class TestLateEvidence:
    """The old worker wakes up after it was given up, with the server's reply in its hand."""

    @pytest.mark.parametrize(
        ("verdict", "state", "status"),
        [
            (ACCEPTED, SENT, MessageStatus.SENT),
            (REFUSED, FAILED, MessageStatus.FAILED),
            (LATER, FAILED, MessageStatus.FAILED),  # nobody is left to try again
            (Verdict(UNKNOWN), UNKNOWN, MessageStatus.UNKNOWN),
        ],
    )
    def test_it_settles_what_was_unknown(
        self, mail: Mail, verdict: Verdict, state: RecipientState, status: MessageStatus
    ) -> None:
        ticket = mail.begin()
        mail.intend(ticket)
        mail.fence()
        mail.end(ticket, dict.fromkeys(range(3), verdict))
        assert mail.states == [state] * 3
        assert mail.statuses == {status}
        assert mail.events[-1] == "late_evidence"

    def test_it_changes_nothing_that_is_known(self, mail: Mail) -> None:
        old = mail.begin()
        new = mail.begin()
        mail.intend(new)
        mail.end(new, dict.fromkeys(range(3), ACCEPTED))
        mail.end(old, dict.fromkeys(range(3), REFUSED), Phase.RCPT)
        assert mail.states == [SENT] * 3
        assert mail.statuses == {MessageStatus.SENT}

    def test_a_refusal_does_not_hide_a_later_attempt(self, mail: Mail) -> None:
        old = mail.begin()
        mail.intend(old)
        mail.fence()
        mail.reopen()
        new = mail.begin()
        mail.intend(new)
        mail.fence()
        mail.end(old, dict.fromkeys(range(3), REFUSED))
        # The second attempt may have been accepted all the same.
        assert mail.states == [UNKNOWN] * 3

    def test_an_acceptance_settles_it_whatever_came_later(self, mail: Mail) -> None:
        old = mail.begin()
        mail.intend(old)
        mail.fence()
        mail.reopen()
        new = mail.begin()
        mail.intend(new)
        mail.fence()
        mail.end(old, dict.fromkeys(range(3), ACCEPTED))
        assert mail.states == [SENT] * 3


class TestSendingAgain:
    """Policy ``at_least_once``."""

    def test_what_is_unknown_is_open_again(self, mail: Mail) -> None:
        ticket = mail.begin()
        mail.intend(ticket, [0, 1])
        mail.end(ticket, {0: Verdict(UNKNOWN), 1: Verdict(UNKNOWN), 2: REFUSED}, Phase.DOT)
        mail.reopen()
        assert mail.states == [DEFERRED, DEFERRED, FAILED]
        again = mail.begin()
        assert again.delivery_id == ticket.delivery_id
        mail.intend(again, [0, 1])
        mail.end(again, {0: ACCEPTED, 1: ACCEPTED})
        assert mail.states == [SENT, SENT, FAILED]

    def test_a_later_refusal_does_not_hide_what_is_unknown(self, mail: Mail) -> None:
        ticket = mail.begin()
        mail.intend(ticket, [0])
        mail.end(ticket, {0: Verdict(UNKNOWN), 1: REFUSED, 2: REFUSED}, Phase.DOT)
        mail.reopen()
        mail.end(mail.begin(), {0: REFUSED}, Phase.RCPT)
        assert mail.states == [UNKNOWN, FAILED, FAILED]
        assert mail.report.recipients[0].code == 550
        assert mail.statuses == {MessageStatus.UNKNOWN}
        # The server has spoken: asking once more would not help.
        mail.reopen()
        assert not mail.report.open

    @pytest.mark.parametrize("cancelled", [False, True])
    def test_giving_up_does_not_hide_it_either(self, mail: Mail, cancelled: bool) -> None:
        ticket = mail.begin()
        mail.intend(ticket, [0])
        mail.end(ticket, {0: Verdict(UNKNOWN), 1: LATER, 2: LATER}, Phase.DOT)
        mail.reopen()
        mail.close(cancelled=cancelled)
        final = CANCELLED if cancelled else FAILED
        assert mail.states == [UNKNOWN, final, final]


class TestClosing:
    def test_what_is_open_has_failed(self, mail: Mail) -> None:
        ticket = mail.begin()
        mail.intend(ticket, [0])
        mail.end(ticket, {0: ACCEPTED, 1: LATER, 2: REFUSED})
        mail.close()
        assert mail.states == [SENT, FAILED, FAILED]
        # The server's last word stays.
        assert [r.code for r in mail.report.recipients] == [250, 451, 550]
        assert mail.statuses == {MessageStatus.PARTIALLY_SENT}

    def test_cancelled_before_the_dot(self, mail: Mail) -> None:
        ticket = mail.begin()
        mail.close(cancelled=True)
        assert mail.states == [CANCELLED] * 3
        assert mail.statuses == {MessageStatus.CANCELLED}
        assert_lost(mail.intend, ticket)

    def test_cancelled_behind_the_dot(self, mail: Mail) -> None:
        ticket = mail.begin()
        mail.intend(ticket)
        mail.close(cancelled=True)
        assert mail.states == [UNKNOWN] * 3
        mail.end(ticket, dict.fromkeys(range(3), ACCEPTED))
        assert mail.states == [SENT] * 3


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ([SENT, SENT], MessageStatus.SENT),
        ([SENT, FAILED], MessageStatus.PARTIALLY_SENT),
        ([SENT, CANCELLED], MessageStatus.PARTIALLY_SENT),
        ([FAILED, FAILED], MessageStatus.FAILED),
        ([FAILED, CANCELLED], MessageStatus.FAILED),
        ([CANCELLED], MessageStatus.CANCELLED),
        ([SENT, PENDING], MessageStatus.QUEUED),
        ([FAILED, DEFERRED], MessageStatus.QUEUED),
        ([SENT, UNKNOWN], MessageStatus.UNKNOWN),
        ([FAILED, UNKNOWN], MessageStatus.UNKNOWN),
        ([PENDING, UNKNOWN], MessageStatus.UNKNOWN),
    ],
)
def test_unknown_is_never_hidden(states: list[RecipientState], status: MessageStatus) -> None:
    assert ledger.status_of(states) is status
    assert ledger.status_of(states[::-1]) is status
