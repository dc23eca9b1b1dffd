"""What the Sent folder proves, and what is written down about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from sqlmodel import col, select

from activities.store import ledger, verification
from activities.store.engine import Database
from activities.store.verification import Doubt
from models.delivery import HeldReason, MessageStatus, Phase, SentCopy
from models.errors import ErrorType
from models.tables import Delivery
from tests.unit.store_kit import account_id, database
from tests.unit.test_ledger import (
    ACCEPTED,
    DEFERRED,
    LATER,
    REFUSED,
    SENT,
    UNKNOWN,
    Mail,
    mail,
)

__all__ = ["account_id", "database", "mail"]

NOW = datetime.now(UTC)
NUMBERS = frozenset({0, 1, 2})


def lose(mail: Mail, accepted: tuple[int, ...] = (0, 1, 2), *later: int) -> None:
    """An attempt that dies behind the dot; the server puts ``later`` off."""
    ticket = mail.begin()
    mail.intend(ticket, accepted)
    verdicts = dict.fromkeys(later, LATER)
    verdicts |= {n: ledger.Verdict(UNKNOWN) for n in accepted}
    mail.end(ticket, verdicts, Phase.REPLY)


def doubt(mail: Mail) -> Doubt:
    with mail.database.read() as session:
        found = verification.doubt(session, mail.delivery_id)
    assert found is not None
    return found


def row(mail: Mail) -> Delivery:
    with mail.database.read() as session:
        return session.exec(select(Delivery).where(Delivery.id == mail.delivery_id)).one()


def change(mail: Mail, **values: object) -> None:
    with mail.database.write() as session:
        session.connection().execute(
            update(Delivery).where(col(Delivery.id) == mail.delivery_id).values(**values)
        )


def test_nothing_is_in_doubt_about_what_is_not_unknown(mail: Mail) -> None:
    with mail.database.read() as session:
        assert verification.doubt(session, mail.delivery_id) is None


def test_found_is_sent(mail: Mail) -> None:
    lose(mail)
    found = doubt(mail)
    assert (found.settled_if_found, found.verify_at) == (NUMBERS, None)
    with mail.database.write() as session:
        verification.confirm(session, found)
    assert mail.states == [SENT] * 3
    assert mail.statuses == {MessageStatus.SENT}
    assert mail.report.sent_at is not None
    assert mail.events[-1] == "verified_sent"
    assert row(mail).held_reason is None


def test_absent_is_sent_again(mail: Mail) -> None:
    lose(mail)
    found = doubt(mail)
    with mail.database.write() as session:
        verification.look_again(session, found, NOW)
    found = doubt(mail)
    assert found.verify_at == NOW
    with mail.database.write() as session:
        verification.reopen(session, found)
    assert mail.states == [DEFERRED] * 3
    assert (row(mail).verify_at, row(mail).verifications) == (None, 2)
    assert "verified_absent" in mail.events
    mail.end(ticket := mail.begin(), dict.fromkeys(ticket.recipients, ACCEPTED))
    assert mail.states == [SENT] * 3


def test_held_is_nobodys_doubt_any_more(mail: Mail) -> None:
    lose(mail)
    with mail.database.write() as session:
        verification.hold(session, doubt(mail), ErrorType.CREDENTIALS_REJECTED)
    assert mail.states == [UNKNOWN] * 3
    with mail.database.read() as session:
        assert verification.doubt(session, mail.delivery_id) is None
        assert verification.held_reason(session, mail.delivery_id) == "CredentialsRejected"
    assert mail.events[-1] == "verification_held"


def test_a_copy_of_an_accepted_attempt_proves_nothing(mail: Mail) -> None:
    """The first attempt was accepted for one recipient: that is why it is in the folder."""
    ticket = mail.begin()
    mail.intend(ticket, [0])
    mail.end(ticket, {0: ACCEPTED, 1: LATER, 2: LATER})
    lose(mail, (1, 2))
    assert doubt(mail).settled_if_found == frozenset()


@pytest.mark.parametrize("state", [SentCopy.FILED, SentCopy.FOUND])
def test_our_own_copy_proves_nothing(mail: Mail, state: SentCopy) -> None:
    lose(mail)
    change(mail, sent_copy=state)
    assert doubt(mail).settled_if_found == frozenset()
    change(mail, sent_copy=SentCopy.PENDING)
    assert doubt(mail).settled_if_found == NUMBERS


def test_of_two_attempts_in_doubt_one_was_accepted(mail: Mail) -> None:
    lose(mail, (0, 1), 2)
    lose(mail, (2,))
    assert doubt(mail).settled_if_found == frozenset()
    mail.reopen()
    lose(mail, (0, 1, 2))
    assert doubt(mail).settled_if_found == frozenset()


def test_who_was_in_every_attempt_in_doubt_got_it(mail: Mail) -> None:
    lose(mail, (0, 1), 2)
    mail.reopen()
    lose(mail, (1, 2), 0)
    found = doubt(mail)
    assert found.settled_if_found == {1}
    mail.close()
    assert mail.states == [UNKNOWN] * 3
    with mail.database.write() as session:
        verification.confirm(session, doubt(mail))
    assert mail.states == [UNKNOWN, SENT, UNKNOWN]
    assert row(mail).held_reason == HeldReason.SENT_PROVES_NOTHING


def test_whom_the_server_has_refused_since_is_not_tried_again(mail: Mail) -> None:
    lose(mail)
    mail.reopen()
    mail.end(mail.begin(), dict.fromkeys(NUMBERS, REFUSED))
    assert mail.states == [UNKNOWN] * 3
    with mail.database.write() as session:
        verification.reopen(session, doubt(mail))
    assert mail.states == [UNKNOWN] * 3
    assert row(mail).held_reason == HeldReason.NOT_IN_SENT


def test_what_was_seen_before_another_attempt_is_old(mail: Mail) -> None:
    lose(mail)
    old = doubt(mail)
    mail.reopen()
    lose(mail)
    with mail.database.write() as session:
        verification.look_again(session, old, NOW)
        verification.confirm(session, old)
        verification.reopen(session, old)
        verification.hold(session, old, HeldReason.NOT_IN_SENT)
    assert mail.states == [UNKNOWN] * 3
    assert row(mail).verifications == 0
    assert row(mail).held_reason is None


def test_two_looks_reopen_once(mail: Mail) -> None:
    lose(mail)
    seen = doubt(mail)
    for _ in range(2):
        with mail.database.write() as session:
            verification.reopen(session, seen)
    assert mail.states == [DEFERRED] * 3
    assert mail.events.count("unknown_reopened") == 1


def test_what_is_due(database: Database, account_id: str) -> None:
    def due(at: datetime) -> list[str]:
        with database.read() as session:
            return verification.due(session, account_id, at, 10)

    mail = Mail(database, account_id)
    lose(mail)
    assert due(NOW) == []  # its workflow looks
    change(mail, queued=True)
    assert due(NOW) == [mail.delivery_id]
    change(mail, verify_at=NOW + timedelta(seconds=60))
    assert due(NOW) == []
    assert due(NOW + timedelta(seconds=61)) == [mail.delivery_id]
    for values in (
        {"held_reason": HeldReason.OPERATOR},
        {"unknown_policy": "at_most_once", "held_reason": None},
        {"unknown_policy": "verify", "state": MessageStatus.SENT},
    ):
        change(mail, **values)
        assert due(NOW + timedelta(seconds=61)) == [], values
