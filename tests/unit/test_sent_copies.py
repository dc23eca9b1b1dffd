"""Which copies are due, and that each is settled once."""

from __future__ import annotations

import pytest
from sqlalchemy import update
from sqlmodel import col

from activities.store import sent_copies
from models.delivery import SentCopy
from models.errors import ErrorType
from models.tables import Delivery
from tests.unit.store_kit import account_id, database
from tests.unit.test_ledger import ACCEPTED, REFUSED, Mail, mail

__all__ = ["account_id", "database", "mail"]


def pending(mail: Mail, state: SentCopy | None = SentCopy.PENDING, *, queued: bool = True) -> None:
    with mail.database.write() as session:
        session.connection().execute(
            update(Delivery)
            .where(col(Delivery.id) == mail.delivery_id)
            .values(sent_copy=state, queued=queued)
        )


def due(mail: Mail, account_id: str) -> list[str]:
    with mail.database.read() as session:
        found = sent_copies.due(session, account_id, 10)
        assert [c.delivery_id for c in sent_copies.of(session, [mail.delivery_id])] == found
        return found


def test_who_drains_the_queue_leaves_the_copies_of_workflows_alone(
    mail: Mail, account_id: str
) -> None:
    pending(mail, queued=False)
    mail.end(mail.begin(), dict.fromkeys(range(3), ACCEPTED))
    with mail.database.read() as session:
        assert sent_copies.due(session, account_id, 10) == []
        assert len(sent_copies.of(session, [mail.delivery_id])) == 1


def test_a_copy_is_due_once_the_mail_is_sent(mail: Mail, account_id: str) -> None:
    pending(mail)
    assert due(mail, account_id) == []
    assert mail.report.sent_copy is None
    ticket = mail.begin()
    mail.intend(ticket)
    assert due(mail, account_id) == []
    mail.end(ticket, {0: ACCEPTED, 1: ACCEPTED, 2: REFUSED})
    assert due(mail, account_id) == [mail.delivery_id]
    assert mail.report.sent_copy is SentCopy.PENDING
    pending(mail, None)
    assert due(mail, account_id) == []


def test_a_refused_mail_has_none(mail: Mail, account_id: str) -> None:
    pending(mail)
    mail.end(mail.begin(), dict.fromkeys(range(3), REFUSED))
    assert due(mail, account_id) == []
    assert mail.report.sent_copy is None


@pytest.mark.parametrize("state", [SentCopy.FILED, SentCopy.FOUND, SentCopy.FAILED])
def test_a_copy_is_settled_once(mail: Mail, account_id: str, state: SentCopy) -> None:
    pending(mail)
    mail.end(mail.begin(), dict.fromkeys(range(3), ACCEPTED))
    with mail.database.read() as session:
        (copy,) = sent_copies.of(session, [mail.delivery_id])
    assert copy.when == mail.report.sent_at
    with mail.database.write() as session:
        sent_copies.settle(session, copy, state)
        sent_copies.settle(session, copy, SentCopy.FAILED, ErrorType.CONNECTION_LOST)
    assert mail.report.sent_copy is state
    assert mail.events[-1] == f"sent_copy_{state}"
    assert due(mail, account_id) == []
    with mail.database.read() as session:
        assert sent_copies.states(session, [mail.delivery_id]) == {mail.delivery_id: state}
