"""What an outgoing mail leaves in the store, and what is read from there to send it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from activities.mail.compose import compose, new_internet_message_id
from activities.ports import ComposedMail, DsnRequest, ThreadParent
from activities.store import ledger, outbox, threads
from activities.store.content import ContentStore, Piece
from activities.store.engine import Database
from activities.store.ledger import AttemptTicket
from activities.store.local_blobs import LocalBlobs
from models.delivery import ComposeInput, Phase
from models.delivery_status import Notify, ReturnContent
from models.errors import ConnectorError, ErrorType
from models.message import EmailMessage
from models.tables import Delivery, LogEntry, Message
from tests.unit.store_kit import account_id, database

__all__ = ["account_id", "database"]


class Outbox:
    """Composes mails, stores them, and takes them to be sent."""

    def __init__(self, database: Database, account_id: str) -> None:
        self.database, self.account_id = database, account_id

    def put(self, **values: Any) -> tuple[str, ComposedMail]:
        """Compose and store a mail; returns its id with it."""
        message_id = str(uuid.uuid4())
        request = ComposeInput(
            message_id=message_id,
            driver=f"send/{message_id} {uuid.uuid4()}",
            date=datetime.now(UTC),
            account=self.account_id,
            message=EmailMessage.model_validate(
                {"to": "to@example.net", "plain_body": "x"} | values
            ),
        )
        with self.database.read() as session:
            parent = threads.parent_of(session, request.message)
        mail = compose(
            request.message,
            account_address="sender@example.org",
            full_name="",
            internet_message_id=new_internet_message_id(message_id, "sender@example.org"),
            date=request.date,
            attachments=[],
            parent=parent,
        )
        rows = ContentStore(LocalBlobs(Path("unused")), 100_000).prepare(
            [Piece(f"{message_id}.mail", "mail", "message/rfc822", mail.raw, message_id)]
        )
        with self.database.write() as session:
            outbox.insert(session, self.account_id, request, mail, rows, [])
        return message_id, mail

    def take(self, message_id: str) -> AttemptTicket:
        """Take a mail to be sent."""
        with self.database.write() as session:
            ticket = ledger.begin_attempt(
                session, outbox.delivery_id_of(message_id), str(uuid.uuid4()), "worker"
            )
        assert ticket is not None
        return ticket


@pytest.fixture
def box(database: Database, account_id: str) -> Outbox:
    return Outbox(database, account_id)


def test_a_blind_copy_is_in_the_envelope_only(box: Outbox) -> None:
    message_id, mail = box.put(cc="cc@example.net", bcc="Hidden <hidden@example.net>")
    assert list(box.take(message_id).recipients.values()) == [
        "to@example.net", "cc@example.net", "hidden@example.net",
    ]  # fmt: skip
    assert b"hidden" not in mail.raw.lower()
    assert b"bcc:" not in mail.raw.lower()


def test_nobody_is_named_twice_however_a_domain_is_spelled(box: Outbox) -> None:
    message_id, _ = box.put(
        to="fry@straße.example", cc="fry@xn--strae-oqa.example", bcc="fry@STRASSE.example;Fry@x.org"
    )
    assert list(box.take(message_id).recipients.values()) == [
        "fry@straße.example", "fry@STRASSE.example", "Fry@x.org",
    ]  # fmt: skip


def test_a_conversation_in_the_store(box: Outbox) -> None:
    first, first_mail = box.put()
    second, second_mail = box.put(reply_of=first)
    third, third_mail = box.put(reply_of=second)
    forwarded, _ = box.put(forward_of=third)
    names = [mail.internet_message_id for mail in (first_mail, second_mail, third_mail)]
    with box.database.read() as session:
        rows = {
            row.id: (row.in_reply_to, row.references)
            for row in session.exec(select(Message).where(Message.account_id == box.account_id))
        }
    assert rows == {
        first: (None, None),
        second: (names[0], names[:1]),
        third: (names[1], names[:2]),
        forwarded: (None, names),
    }


def test_a_thread_that_is_given_is_stored_for_the_next_reply(box: Outbox) -> None:
    message_id, _ = box.put(in_reply_to="<b@x.example>", references=["<a@x.example>"])
    with box.database.read() as session:
        message = EmailMessage(to="a@x.example", plain_body="x", reply_of=message_id)  # type: ignore[arg-type]
        parent = threads.parent_of(session, message)
    assert parent == ThreadParent(
        f"<{message_id}@example.org>", "<b@x.example>", ("<a@x.example>", "<b@x.example>")
    )


@pytest.mark.parametrize("field", ["reply_of", "forward_of"])
def test_a_mail_that_nobody_knows_is_named(box: Outbox, field: str) -> None:
    with pytest.raises(ConnectorError) as caught:
        box.put(**{field: "no such mail"})
    assert (caught.value.type, caught.value.field) == (
        ErrorType.MESSAGE_NOT_FOUND,
        f"message.{field}",
    )


def test_reports_are_asked_for_by_the_ledger(box: Outbox) -> None:
    message_id, _ = box.put(delivery_status={"notify": ["success", "delay"], "ret": "headers"})
    with box.database.read() as session:
        delivery = session.exec(select(Delivery).where(Delivery.message_id == message_id)).one()
    assert delivery.dsn == {"notify": ["success", "delay"], "ret": "headers"}
    ticket = box.take(message_id)
    assert ticket.dsn == DsnRequest(
        message_id, (Notify.SUCCESS, Notify.DELAY), ReturnContent.HEADERS
    )
    assert ticket.dsn.asked


def test_without_a_wish_a_report_can_still_be_told_apart(box: Outbox) -> None:
    message_id, _ = box.put()
    ticket = box.take(message_id)
    assert ticket.dsn == DsnRequest(message_id)
    assert not ticket.dsn.asked


def test_nothing_reports_to_the_null_sender(box: Outbox) -> None:
    message_id, _ = box.put(auto_submitted="auto-replied")
    ticket = box.take(message_id)
    assert (ticket.envelope_from, ticket.dsn) == ("", None)


@pytest.mark.parametrize("dsn", ["unavailable", None])
def test_what_was_not_asked_for_is_in_the_log(box: Outbox, dsn: str | None) -> None:
    message_id, _ = box.put(delivery_status={"ret": "full"})
    ticket = box.take(message_id)
    with box.database.write() as session:
        ledger.end_attempt(session, ticket, {}, Phase.DONE, None, dsn=dsn)
    with box.database.read() as session:
        entry = session.exec(
            select(LogEntry).where(
                LogEntry.message_id == message_id, LogEntry.event == "attempt_ended"
            )
        ).one()
    assert entry.detail.get("dsn") == dsn
