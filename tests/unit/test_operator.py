"""What a person decides about mails and accounts, on the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import select

from activities.store import ledger, operator
from activities.store.engine import Database
from activities.store.ledger import Verdict
from models.account import EmailAccount
from models.delivery import MessageStatus, Phase, RecipientState
from models.errors import ConnectorError, ErrorType
from models.tables import AccountRow, Delivery, LogEntry, Message
from tests.unit.store_kit import account_id, database
from tests.unit.test_ledger import ACCEPTED, LATER, REFUSED, Mail, assert_lost

__all__ = ["account_id", "database"]

SENT, FAILED, UNKNOWN, PENDING, CANCELLED = (
    RecipientState.SENT,
    RecipientState.FAILED,
    RecipientState.UNKNOWN,
    RecipientState.PENDING,
    RecipientState.CANCELLED,
)


class Operated(Mail):
    """A mail, and what an operator does about it."""

    def __init__(self, database: Database, account_id: str) -> None:
        super().__init__(database, account_id)
        self.account_id = account_id
        self.message_id = self.row.message_id

    @property
    def row(self) -> Delivery:
        with self.database.read() as session:
            return session.exec(select(Delivery).where(Delivery.id == self.delivery_id)).one()

    def change(self, **values: Any) -> None:
        with self.database.write() as session:
            row = session.get_one(Delivery, self.delivery_id)
            for name, value in values.items():
                setattr(row, name, value)
            session.add(row)

    def resend(self, *, again: bool = False, **settings: Any) -> list[RecipientState]:
        with self.database.write() as session:
            row = session.get_one(AccountRow, self.account_id)
            account = EmailAccount.model_validate(
                {**row.settings, "id": row.id, "created_at": row.created_at, **settings}
            )
            operator.resend(session, self.message_id, account, again=again)
        return self.states

    def mark_sent(self) -> list[RecipientState]:
        with self.database.write() as session:
            operator.mark_sent(session, self.message_id)
        return self.states

    def cancel(self) -> list[RecipientState]:
        with self.database.write() as session:
            operator.cancel(session, self.message_id)
        return self.states

    def settle(self, *verdicts: Verdict) -> None:
        """One attempt that comes to its end."""
        ticket = self.begin()
        self.intend(ticket)
        self.end(ticket, dict(enumerate(verdicts)))


@pytest.fixture
def mail(database: Database, account_id: str) -> Operated:
    return Operated(database, account_id)


def refused(action: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(ConnectorError) as caught:
        action(*arguments, **options)
    assert caught.value.type is ErrorType.STATE_CONFLICT
    assert not caught.value.temporary
    return caught.value.message


class TestResend:
    def test_those_who_did_not_get_it_are_tried_again(self, mail: Operated) -> None:
        mail.settle(ACCEPTED, REFUSED, Verdict(UNKNOWN))
        assert mail.statuses == {MessageStatus.UNKNOWN}
        epoch = mail.row.epoch
        mail.change(held_reason="operator", verify_at=datetime.now(UTC), verifications=3)
        assert mail.resend() == [SENT, PENDING, PENDING]
        row = mail.row
        assert mail.statuses == {MessageStatus.QUEUED}
        assert row.queued
        assert row.epoch == epoch + 1
        assert row.next_attempt_at is not None
        assert row.next_attempt_at <= datetime.now(UTC)
        assert (row.held_reason, row.verify_at, row.verifications) == (None, None, 0)
        assert mail.events[-1] == "resent"
        assert list(mail.begin().recipients) == [1, 2]

    def test_limits_begin_anew(self, mail: Operated) -> None:
        mail.settle(REFUSED, REFUSED, REFUSED)
        past = datetime.now(UTC) - timedelta(days=1)
        mail.change(max_attempts=1, give_up_at=past, expires_at=past)
        mail.resend(max_send_attempts=2, give_up_after_seconds=3600)
        row = mail.row
        assert row.max_attempts == row.attempts + 3
        assert row.give_up_at is not None
        assert timedelta(minutes=59) < row.give_up_at - datetime.now(UTC) <= timedelta(hours=1)
        assert row.expires_at is None

    def test_twice_is_once(self, mail: Operated) -> None:
        mail.settle(REFUSED, REFUSED, REFUSED)
        mail.resend()
        before = mail.row
        mail.resend()
        assert mail.row == before
        assert mail.events.count("resent") == 1

    def test_one_that_is_held_goes_on(self, mail: Operated) -> None:
        mail.change(queued=True, held_reason="CredentialsRejected")
        assert mail.resend() == [PENDING] * 3
        assert mail.row.held_reason is None

    def test_what_was_sent_goes_out_again_only_when_asked(self, mail: Operated) -> None:
        mail.settle(ACCEPTED, ACCEPTED, ACCEPTED)
        assert "--again" in refused(mail.resend)
        assert mail.resend(again=True) == [PENDING] * 3
        mail.settle(ACCEPTED, ACCEPTED, ACCEPTED)
        assert mail.statuses == {MessageStatus.SENT}

    def test_a_cancelled_mail_stays_so(self, mail: Operated) -> None:
        mail.cancel()
        refused(mail.resend)
        assert mail.states == [CANCELLED] * 3

    def test_a_worker_that_was_sending_is_fenced_off(self, mail: Operated) -> None:
        mail.change(queued=True)
        first = mail.begin()
        mail.intend(first, [0])
        mail.fence()
        late = mail.begin()
        assert mail.resend() == [PENDING] * 3
        assert_lost(mail.intend, late)

    def test_a_doubt_is_not_hidden_by_a_later_refusal(self, mail: Operated) -> None:
        mail.settle(Verdict(UNKNOWN), Verdict(UNKNOWN), Verdict(UNKNOWN))
        mail.resend()
        mail.settle(REFUSED, ACCEPTED, LATER)
        assert mail.states == [UNKNOWN, SENT, RecipientState.DEFERRED]


class TestMarkSent:
    def test_unknown_becomes_sent(self, mail: Operated) -> None:
        mail.settle(Verdict(UNKNOWN), REFUSED, Verdict(UNKNOWN))
        mail.change(held_reason="operator", verify_at=datetime.now(UTC))
        assert mail.mark_sent() == [SENT, FAILED, SENT]
        assert mail.statuses == {MessageStatus.PARTIALLY_SENT}
        assert mail.report.sent_at is not None
        assert (mail.row.held_reason, mail.row.verify_at) == (None, None)
        assert mail.events[-1] == "marked_sent"

    def test_twice_is_once(self, mail: Operated) -> None:
        mail.settle(Verdict(UNKNOWN), Verdict(UNKNOWN), Verdict(UNKNOWN))
        mail.mark_sent()
        assert mail.mark_sent() == [SENT] * 3
        assert mail.events.count("marked_sent") == 1

    def test_nothing_else_is_called_sent(self, mail: Operated) -> None:
        assert "log show" in refused(mail.mark_sent)
        mail.settle(REFUSED, REFUSED, REFUSED)
        refused(mail.mark_sent)
        assert mail.states == [FAILED] * 3

    def test_a_transmission_under_way_goes_on(self, mail: Operated) -> None:
        lost = mail.begin()
        mail.intend(lost, [0])
        mail.fence()
        running = mail.begin()
        assert mail.mark_sent() == [SENT, PENDING, PENDING]
        mail.intend(running, [1, 2])
        mail.end(running, {1: ACCEPTED, 2: ACCEPTED}, Phase.DONE)
        assert mail.states == [SENT] * 3


class TestCancel:
    def test_who_is_open_is_not_sent_to(self, mail: Operated) -> None:
        mail.settle(ACCEPTED, LATER, LATER)
        mail.change(queued=True, next_attempt_at=datetime.now(UTC))
        assert mail.cancel() == [SENT, CANCELLED, CANCELLED]
        assert mail.statuses == {MessageStatus.PARTIALLY_SENT}
        assert mail.row.next_attempt_at is None
        assert mail.events[-1] == "cancelled"

    def test_twice_is_once(self, mail: Operated) -> None:
        mail.cancel()
        assert mail.cancel() == [CANCELLED] * 3
        assert mail.events.count("cancelled") == 1

    def test_a_worker_before_its_dot_is_stopped(self, mail: Operated) -> None:
        ticket = mail.begin()
        assert mail.cancel() == [CANCELLED] * 3
        assert_lost(mail.intend, ticket)

    def test_what_is_past_its_dot_becomes_what_it_becomes(self, mail: Operated) -> None:
        ticket = mail.begin()
        mail.intend(ticket, [0, 1])
        assert mail.cancel() == [UNKNOWN, UNKNOWN, CANCELLED]
        assert mail.statuses == {MessageStatus.UNKNOWN}
        mail.end(ticket, {0: ACCEPTED, 1: ACCEPTED})
        assert mail.states == [SENT, SENT, CANCELLED]

    def test_what_is_over_cannot_be_cancelled(self, mail: Operated) -> None:
        mail.settle(ACCEPTED, ACCEPTED, ACCEPTED)
        refused(mail.cancel)
        unknown = Operated(mail.database, mail.account_id)
        unknown.settle(Verdict(UNKNOWN), Verdict(UNKNOWN), Verdict(UNKNOWN))
        assert "mark-sent" in refused(unknown.cancel)

    def test_a_mail_that_is_not_there(self, database: Database) -> None:
        with pytest.raises(ConnectorError) as caught, database.write() as session:
            operator.cancel(session, "nothing")
        assert caught.value.type is ErrorType.MESSAGE_NOT_FOUND


class TestAccounts:
    def account(self, database: Database, account_id: str) -> AccountRow:
        with database.read() as session:
            return session.get_one(AccountRow, account_id)

    def events(self, database: Database, account_id: str) -> list[str]:
        with database.read() as session:
            query = select(LogEntry).where(LogEntry.account_id == account_id)
            found = sorted(session.exec(query), key=lambda e: e.id or 0)
        return [e.event for e in found if e.event.startswith("account_")]

    def test_pause_and_resume(self, database: Database, account_id: str) -> None:
        for expected in (True, False):
            with database.write() as session:
                assert operator.pause(session, account_id) is expected
        assert self.account(database, account_id).paused_at is not None
        for released in (0, None):
            with database.write() as session:
                assert operator.resume(session, account_id) == released
        assert self.account(database, account_id).paused_at is None
        assert self.events(database, account_id) == [
            "account_added",
            "account_paused",
            "account_resumed",
        ]

    def test_resuming_releases_what_waited_for_a_person(
        self, database: Database, account_id: str
    ) -> None:
        held, judged, other, settled = (Operated(database, account_id) for _ in range(4))
        later = datetime.now(UTC) + timedelta(hours=1)
        held.change(held_reason="CredentialsRejected", next_attempt_at=later, queued=True)
        judged.change(held_reason="CertificateRejected", queued=True)
        other.change(held_reason="operator", queued=True)
        settled.settle(REFUSED, REFUSED, REFUSED)
        settled.change(held_reason="CredentialsRejected")
        with database.write() as session:
            row = session.get_one(AccountRow, account_id)
            row.parked_at, row.parked_reason = datetime.now(UTC), "CertificateRejected"
            session.add(row)
        with database.write() as session:
            assert operator.resume(session, account_id) == 2
        row = self.account(database, account_id)
        assert (row.parked_at, row.parked_reason) == (None, None)
        assert (held.row.held_reason, judged.row.held_reason) == (None, None)
        assert held.row.next_attempt_at is not None
        assert held.row.next_attempt_at <= datetime.now(UTC)
        assert other.row.held_reason == "operator"
        assert settled.statuses == {MessageStatus.FAILED}


def test_nothing_is_left_half_done(mail: Operated) -> None:
    """A refusal leaves the rows as they were."""
    mail.settle(ACCEPTED, ACCEPTED, ACCEPTED)
    before, events = mail.row, mail.events
    for action in (mail.resend, mail.cancel):
        refused(action)
    assert (mail.row, mail.events) == (before, events)
    with mail.database.read() as session:
        message = session.exec(select(Message).where(Message.id == mail.message_id)).one()
    assert message.status == MessageStatus.SENT
    with mail.database.read() as session:
        assert ledger.report(session, mail.delivery_id).status is MessageStatus.SENT
