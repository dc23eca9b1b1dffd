"""The queue in the store: order, leases, take-overs, and the ledger's writes for many at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select, update

from activities.crypto.keyring import load_keyring
from activities.crypto.secretbox import SecretBox
from activities.store import ledger, operator, queue, queue_ledger
from activities.store.accounts import Accounts
from activities.store.engine import Database
from activities.store.ledger import Verdict
from activities.store.queue import QueuedMail
from activities.store.queue_ledger import Intent, Outcome
from activities.store.scopes import back_off_scope
from models.account import UnknownPolicy
from models.delivery import DeliveryReport, MessageStatus, Phase, RecipientState
from models.errors import ErrorType
from models.failure import Failure
from models.settings import Settings
from models.tables import Attempt, Delivery, Message, SendingSlot, SlowDown
from tests.unit.store_kit import account_id, database, queued

__all__ = ["account_id", "database"]

SENT, DEFERRED, UNKNOWN, FAILED = (
    RecipientState.SENT,
    RecipientState.DEFERRED,
    RecipientState.UNKNOWN,
    RecipientState.FAILED,
)
ACCEPTED = Verdict(SENT, 250, "2.0.0", "ok")
LATER = Verdict(DEFERRED, 451, "4.7.1", "later")
NOBODY = Verdict(FAILED, 550, "5.1.1", "no such user")
MINUTE = timedelta(minutes=1)


class Queue:
    """The queue of one account, and what a worker does with it."""

    def __init__(self, database: Database, account_id: str) -> None:
        self.database = database
        self.account_id = account_id
        self.now = datetime.now(UTC)

    def put(self, recipients: Sequence[str] = ("a@example.net",), **values: Any) -> str:
        delivery_id = queued(self.database, self.account_id, recipients)
        given = {"queued": True, "next_attempt_at": self.now - MINUTE} | values
        self.change(delivery_id, **given)
        return delivery_id

    def change(self, delivery_id: str, **values: Any) -> None:
        with self.database.write() as session:
            session.connection().execute(
                update(Delivery).where(col(Delivery.id) == delivery_id).values(**values)
            )

    def lease(
        self, owner: str = "worker", limit: int = 100, after: timedelta = timedelta()
    ) -> list[QueuedMail]:
        now = self.now + after
        with self.database.write() as session:
            queue.cancel_outdated(session, self.account_id, now, limit)
            return queue.lease(session, self.account_id, owner, limit, now, now + MINUTE)

    def intend(self, *mails: QueuedMail) -> set[str]:
        intents = [Intent(mail, list(mail.recipients), self.now) for mail in mails]
        mine = queue_ledger.record(self.database, [], intents).intended
        return {mail.delivery_id for mail in mails if mail.attempt_id in mine}

    def end(self, *outcomes: Outcome) -> None:
        for outcome in queue_ledger.record(self.database, outcomes, []).left:
            with self.database.write() as session:
                queue_ledger.end_carefully(session, outcome)

    def outcome(self, mail: QueuedMail, *verdicts: Verdict, **changes: Any) -> Outcome:
        given = {
            "verdicts": dict(enumerate(verdicts)),
            "phase": Phase.DONE,
            "error": None,
            "started_at": self.now,
            "intended": True,
            "next_attempt_at": self.now + MINUTE,
        }
        return Outcome(mail=mail, **(given | changes))

    def row(self, delivery_id: str) -> Delivery:
        with self.database.read() as session:
            return session.exec(select(Delivery).where(Delivery.id == delivery_id)).one()

    def report(self, delivery_id: str) -> DeliveryReport:
        with self.database.read() as session:
            return ledger.report(session, delivery_id)

    def attempts(self, delivery_id: str) -> list[str | None]:
        with self.database.read() as session:
            found = select(Attempt.outcome).where(Attempt.delivery_id == delivery_id)
            return list(session.exec(found.order_by(Attempt.epoch)))  # type: ignore[arg-type]

    def status(self, delivery_id: str) -> str:
        with self.database.read() as session:
            message = select(Message.status).join(Delivery).where(Delivery.id == delivery_id)
            return session.exec(message).one()

    @property
    def due(self) -> bool:
        with self.database.read() as session:
            return self.account_id in queue.due_accounts(session, self.now)


@pytest.fixture
def line(database: Database, account_id: str) -> Queue:
    return Queue(database, account_id)


class TestLeasing:
    def test_the_urgent_first_then_the_oldest(self, line: Queue) -> None:
        late = line.put(priority=5, next_attempt_at=line.now - 9 * MINUTE)
        newer, older = line.put(), line.put(next_attempt_at=line.now - 2 * MINUTE)
        urgent = line.put(priority=1)
        assert [m.delivery_id for m in line.lease()] == [urgent, older, newer, late]

    def test_nobody_gets_a_mail_twice(self, line: Queue) -> None:
        for _ in range(5):
            line.put()
        first, second = line.lease("one", 3), line.lease("two")
        assert (len(first), len(second)) == (3, 2)
        assert not {m.delivery_id for m in first} & {m.delivery_id for m in second}
        assert line.lease("three") == []

    def test_what_is_not_due(self, line: Queue) -> None:
        line.put(next_attempt_at=line.now + MINUTE)
        line.put(held_reason="unknown")
        queued(line.database, line.account_id, ["by.workflow@example.net"])
        assert not line.due
        assert line.lease() == []

    def test_a_mail_comes_with_its_bytes_and_open_recipients(self, line: Queue) -> None:
        line.put(["a@example.net", "b@example.net"])
        (mail,) = line.lease()
        assert dict(mail.recipients) == {0: "a@example.net", 1: "b@example.net"}
        assert mail.raw == b"Subject: x\r\n\r\nx\r\n" or mail.content_key
        assert line.status(mail.delivery_id) == MessageStatus.QUEUED

    def test_it_expires(self, line: Queue) -> None:
        delivery_id = line.put(expires_at=line.now)
        assert line.lease() == []
        assert line.report(delivery_id).status is MessageStatus.CANCELLED

    def test_however_many_have_expired_none_is_sent(self, line: Queue) -> None:
        late = [line.put(priority=1, expires_at=line.now) for _ in range(5)]
        good = line.put(expires_at=line.now + MINUTE)
        assert [m.delivery_id for m in line.lease(limit=3)] == [good]
        left = [d for d in late if line.row(d).state == MessageStatus.QUEUED]
        assert len(left) == 2
        assert line.due, "somebody has to cancel them"
        assert line.lease(limit=3) == []
        assert {line.report(d).status for d in late} == {MessageStatus.CANCELLED}

    def test_a_pause_counts_in_the_middle_of_a_drain(self, line: Queue) -> None:
        line.put()
        with line.database.write() as session:
            operator.pause(session, line.account_id)
        assert line.lease() == []

    def test_what_was_taken_over_cannot_be_given_back(self, line: Queue) -> None:
        put = line.put()
        mails = line.lease()
        (heir,) = line.lease("heir", after=2 * MINUTE)
        with line.database.write() as session:
            queue.give_back(session, mails)
        assert line.row(put).state == MessageStatus.SENDING
        assert line.status(put) == MessageStatus.QUEUED
        with line.database.write() as session:
            queue.give_back(session, [heir])
        assert line.status(put) == line.row(put).state == MessageStatus.QUEUED

    def test_given_back_it_is_as_before(self, line: Queue) -> None:
        delivery_id = line.put()
        mails = line.lease()
        with line.database.write() as session:
            queue.give_back(session, mails)
        row = line.row(delivery_id)
        assert (row.state, row.attempts, row.leased_until) == (MessageStatus.QUEUED, 0, None)
        assert line.status(delivery_id) == MessageStatus.QUEUED

    @pytest.mark.parametrize("how", ["paused", "parked", "slowed"])
    def test_an_account_that_may_not_send(self, line: Queue, how: str) -> None:
        line.put()
        assert line.due
        with line.database.write() as session:
            if how == "paused":
                operator.pause(session, line.account_id)
            elif how == "parked":
                queue.park(session, line.account_id, ErrorType.CREDENTIALS_REJECTED, line.now)
            else:
                queue.back_off(session, line.account_id, [60], line.now, None, 4000)
        assert not line.due
        with line.database.write() as session:
            queue.reached(session, line.account_id)
            operator.resume(session, line.account_id)
        assert line.due

    def test_a_parked_account_is_tried_again_after_an_hour(self, line: Queue) -> None:
        line.put()
        parked = line.now - timedelta(minutes=61)
        with line.database.write() as session:
            queue.park(session, line.account_id, ErrorType.CREDENTIALS_REJECTED, parked)
        assert line.due


class TestSettling:
    def test_sent(self, line: Queue) -> None:
        delivery_ids = [line.put() for _ in range(3)]
        mails = line.lease()
        assert line.intend(*mails) == set(delivery_ids)
        line.end(*(line.outcome(mail, ACCEPTED) for mail in mails))
        for delivery_id in delivery_ids:
            report = line.report(delivery_id)
            assert (report.status, report.attempts) == (MessageStatus.SENT, 1)
            assert report.sent_at is not None
            assert line.status(delivery_id) == MessageStatus.SENT
            assert line.attempts(delivery_id) == ["sent"]

    def test_only_the_deferred_are_tried_again(self, line: Queue) -> None:
        delivery_id = line.put(["a@example.net", "b@example.net", "c@example.net"])
        (mail,) = line.lease()
        line.intend(mail)
        line.end(line.outcome(mail, ACCEPTED, LATER, NOBODY))
        row = line.row(delivery_id)
        assert (row.state, row.next_attempt_at) == (MessageStatus.QUEUED, line.now + MINUTE)
        (again,) = line.lease(after=2 * MINUTE)
        assert dict(again.recipients) == {1: "b@example.net"}
        assert again.attempts == 1
        line.intend(again)
        line.end(line.outcome(again, verdicts={1: ACCEPTED}))
        assert line.report(delivery_id).status is MessageStatus.PARTIALLY_SENT

    def test_the_last_attempt(self, line: Queue) -> None:
        delivery_id = line.put()
        (mail,) = line.lease()
        line.end(line.outcome(mail, LATER, next_attempt_at=None, intended=False))
        report = line.report(delivery_id)
        assert report.status is MessageStatus.FAILED
        assert report.recipients[0].code == 451
        assert line.attempts(delivery_id) == ["not_sent"]

    @pytest.mark.parametrize("policy", list(UnknownPolicy))
    def test_unknown(self, line: Queue, policy: UnknownPolicy) -> None:
        delivery_id = line.put(unknown_policy=policy)
        (mail,) = line.lease()
        line.intend(mail)
        line.end(line.outcome(mail, Verdict(UNKNOWN), phase=Phase.REPLY))
        self.check_unknown(line, delivery_id, policy)

    @pytest.mark.parametrize("policy", list(UnknownPolicy))
    def test_a_worker_that_died_past_its_intent(self, line: Queue, policy: UnknownPolicy) -> None:
        delivery_id = line.put(unknown_policy=policy)
        (mail,) = line.lease()
        line.intend(mail)
        again = line.lease("heir", after=2 * MINUTE)
        assert line.attempts(delivery_id) == ["unknown"]
        assert [m.delivery_id for m in again] == (
            [delivery_id] if policy is UnknownPolicy.AT_LEAST_ONCE else []
        )
        if not again:
            self.check_unknown(line, delivery_id, policy)

    @pytest.mark.parametrize(
        ("verdict", "state"), [(ACCEPTED, MessageStatus.SENT), (LATER, MessageStatus.QUEUED)]
    )
    def test_what_came_of_a_mail_in_doubt(
        self, line: Queue, verdict: Verdict, state: MessageStatus
    ) -> None:
        delivery_id = line.put(unknown_policy=UnknownPolicy.AT_LEAST_ONCE)
        line.intend(*line.lease())
        (again,) = line.lease("heir", after=2 * MINUTE)
        assert again.doubtful
        line.change(delivery_id, leased_until=line.now + 9 * MINUTE)
        line.intend(again)
        line.end(line.outcome(again, verdict))
        row = line.row(delivery_id)
        assert (row.state, row.attempts, row.leased_until) == (state, 1, None)
        assert (line.status(delivery_id), line.report(delivery_id).status) == (state, state)

    @staticmethod
    def check_unknown(line: Queue, delivery_id: str, policy: UnknownPolicy) -> None:
        row = line.row(delivery_id)
        if policy is UnknownPolicy.AT_LEAST_ONCE:
            assert (row.state, line.status(delivery_id)) == ("queued", "queued")
        else:
            assert (row.state, line.status(delivery_id)) == ("unknown", "unknown")
        assert (row.held_reason is not None) == (policy is UnknownPolicy.AT_MOST_ONCE)

    def test_those_of_unknown_outcome_do_not_keep_the_others_waiting(self, line: Queue) -> None:
        delivery_id = line.put(["a@example.net", "b@example.net"])
        (mail,) = line.lease()
        line.intend(mail)
        line.end(line.outcome(mail, Verdict(UNKNOWN), LATER, phase=Phase.REPLY))
        assert line.status(delivery_id) == MessageStatus.UNKNOWN
        (again,) = line.lease(after=2 * MINUTE)
        assert dict(again.recipients) == {1: "b@example.net"}
        assert again.doubtful
        line.intend(again)
        line.end(line.outcome(again, verdicts={1: ACCEPTED}))
        states = [r.state for r in line.report(delivery_id).recipients]
        assert states == [UNKNOWN, SENT]


class TestZombies:
    def test_one_that_was_taken_over_sends_nothing(self, line: Queue) -> None:
        other, delivery_id = line.put(), line.put()
        mails = {mail.delivery_id: mail for mail in line.lease()}
        line.change(other, leased_until=line.now + 9 * MINUTE)
        (heir,) = line.lease("heir", after=2 * MINUTE)
        assert heir.delivery_id == delivery_id
        # Of a group only what is still held may be sent.
        assert line.intend(mails[delivery_id], mails[other]) == {other}
        assert line.intend(heir) == {delivery_id}

    def test_its_late_word_counts(self, line: Queue) -> None:
        delivery_id = line.put(unknown_policy=UnknownPolicy.AT_MOST_ONCE)
        (mail,) = line.lease()
        line.intend(mail)
        line.lease("heir", after=2 * MINUTE)
        assert line.report(delivery_id).status is MessageStatus.UNKNOWN
        line.end(line.outcome(mail, ACCEPTED))
        assert line.report(delivery_id).status is MessageStatus.SENT

    @pytest.mark.parametrize("policy", [UnknownPolicy.AT_MOST_ONCE, UnknownPolicy.VERIFY])
    def test_refused_for_now_it_is_tried_again_however_late_that_is_heard(
        self, line: Queue, policy: UnknownPolicy
    ) -> None:
        put = line.put(unknown_policy=policy)
        (mail,) = line.lease()
        line.intend(mail)
        assert line.lease(after=2 * MINUTE) == []
        assert line.report(put).status == MessageStatus.UNKNOWN
        when = line.now + 9 * MINUTE
        line.end(line.outcome(mail, LATER, next_attempt_at=when))
        row = line.row(put)
        assert (row.state, row.held_reason, row.next_attempt_at) == ("queued", None, when)
        assert line.status(put) == "queued"
        assert [m.delivery_id for m in line.lease(after=10 * MINUTE)] == [put]

    def test_refused_for_now_at_its_last_attempt_it_has_failed(self, line: Queue) -> None:
        put = line.put(unknown_policy=UnknownPolicy.AT_MOST_ONCE)
        (mail,) = line.lease()
        line.intend(mail)
        assert line.lease(after=2 * MINUTE) == []
        line.end(line.outcome(mail, LATER, next_attempt_at=None))
        assert line.report(put).status == MessageStatus.FAILED

    def test_its_late_word_stops_who_would_repeat_it(self, line: Queue) -> None:
        delivery_id = line.put(unknown_policy=UnknownPolicy.AT_LEAST_ONCE)
        (mail,) = line.lease()
        line.intend(mail)
        (heir,) = line.lease("heir", after=2 * MINUTE)
        line.end(line.outcome(mail, ACCEPTED))
        assert line.intend(heir) == set()
        lost = Failure(type=ErrorType.LEASE_LOST, message="gone", temporary=False)
        line.end(line.outcome(heir, LATER, error=lost, intended=False, next_attempt_at=None))
        assert line.report(delivery_id).status is MessageStatus.SENT
        assert line.lease("third", after=9 * MINUTE) == []

    def test_among_others_its_outcome_does_not_disturb_theirs(self, line: Queue) -> None:
        mine, stolen = line.put(), line.put()
        mails = {mail.delivery_id: mail for mail in line.lease()}
        line.intend(*mails.values())
        line.change(mine, leased_until=line.now + 9 * MINUTE)
        line.lease("heir", after=2 * MINUTE)
        line.end(*(line.outcome(mails[d], ACCEPTED) for d in (stolen, mine)))
        assert line.report(mine).status is MessageStatus.SENT
        assert line.row(mine).attempts == 1
        assert line.report(stolen).status is MessageStatus.SENT

    def test_renewing_keeps_a_lease(self, line: Queue) -> None:
        line.put()
        line.lease("worker")
        with line.database.write() as session:
            queue.renew(session, "worker", line.now + 9 * MINUTE)
        assert line.lease("heir", after=2 * MINUTE) == []


def _pause_after(queue_: Queue, strikes: int, hint: float | None = None) -> float:
    """Seconds for which the account is left alone after so many failures in a row."""
    settings = Settings()
    for _ in range(strikes):
        now = queue_.now
        with queue_.database.write() as session:
            queue.back_off(
                session,
                queue_.account_id,
                settings.retry_delays_seconds,
                now,
                hint,
                settings.max_retry_delay_seconds,
            )
            row = session.get_one(SlowDown, back_off_scope(queue_.account_id))
            queue_.now = row.until + timedelta(seconds=1)
            pause = (row.until - now).total_seconds()
    return pause


def test_an_account_whose_server_is_away_is_left_alone_by_the_preset(line: Queue) -> None:
    assert [_pause_after(line, 1) for _ in range(9)] == [
        *Settings().retry_delays_seconds,
        3600,
        3600,
    ]


def test_no_hint_leaves_an_account_alone_for_longer_than_the_cap(line: Queue) -> None:
    assert _pause_after(line, 1, hint=90) == 90
    assert _pause_after(line, 9, hint=86_400) == 3900


def test_a_server_that_is_back_is_trusted_from_the_first(line: Queue) -> None:
    assert _pause_after(line, 5) == 900
    with line.database.write() as session:
        queue.reached(session, line.account_id)
    assert _pause_after(line, 1) == 60

    def test_one_that_slept_past_its_lease_sends_nothing(self, line: Queue) -> None:
        line.put()
        (mail,) = line.lease(after=-2 * MINUTE)
        assert line.intend(mail) == set()

    def test_nobody_is_told_who_did_not_ask(self, line: Queue) -> None:
        delivery_id = line.put()
        (mail,) = line.lease()
        line.intend(mail)
        line.end(line.outcome(mail, ACCEPTED))
        assert line.row(delivery_id).tell_at is None


def _box(folder: Path) -> SecretBox:
    return SecretBox(load_keyring(Settings(data_dir=folder / "keys")).secrets)


def test_a_deleted_account_leaves_neither_pauses_nor_wishes(
    database: Database, account_id: str, tmp_path: Path
) -> None:
    scopes = [f"queue/{account_id}", f"account/{account_id}"]
    now = datetime.now(UTC)
    with database.write() as session:
        for scope in scopes:
            session.add(SlowDown(scope=scope, until=now, strikes=1))
            for name in (scope, f"wanted/{scope}"):
                session.add(SendingSlot(scope=name, number=1, owner="x", leased_until=now))
    with database.write() as session:
        Accounts(_box(tmp_path)).delete(session, account_id)
    with database.read() as session:
        assert not session.exec(select(SlowDown).where(col(SlowDown.scope).in_(scopes))).all()
        account = [scopes[1], f"wanted/{scopes[1]}"]
        assert not session.exec(
            select(SendingSlot).where(col(SendingSlot.scope).in_(account))
        ).all()
