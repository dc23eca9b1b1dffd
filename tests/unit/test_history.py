"""The error log and the e-mail log: what is found, in which order, and what is never in them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities.mail.errors import reply_failure
from activities.mail.imap_refusal import Status, refusal
from activities.ports import Endpoint, Reply
from activities.store import history, ledger, operator
from activities.store.engine import Database
from activities.store.history import MailFilter, StepFilter
from activities.store.log import record
from models.account import LoginMethod, Security
from models.advice import ADVICE
from models.delivery import MessageStatus, Phase, RecipientState
from models.errors import ConnectorError, ErrorType
from models.failure import Failure
from models.names import Direction
from models.tables import Delivery, LogEntry
from tests.unit.store_kit import account_id, database, queued
from tests.unit.test_ledger import ACCEPTED, REFUSED, Mail

__all__ = ["account_id", "database"]

ENDPOINT = Endpoint(
    host="mx.example",
    port=25,
    security=Security.NONE,
    login=LoginMethod.NONE,
    username=None,
    password=None,
    timeout=timedelta(seconds=1),
    check_identity=True,
)


def message_of(database: Database, delivery_id: str) -> str:
    with database.read() as session:
        return session.get_one(Delivery, delivery_id).message_id


def steps(database: Database, *, limit: int = 50, **wanted: Any) -> Sequence[LogEntry]:
    with database.read() as session:
        return history.steps(session, StepFilter(**wanted), limit=limit)


def log(database: Database, account_id: str, *kinds: ErrorType | None) -> None:
    for kind in kinds:
        with database.write() as session:
            record(session, "tried", account_id=account_id, error_type=kind)


class TestSteps:
    def test_the_newest_come_first_page_by_page(self, database: Database, account_id: str) -> None:
        log(database, account_id, *[ErrorType.HOST_NOT_FOUND] * 5)
        first = steps(database, account_id=account_id, errors=True, limit=3)
        ids = [s.id or 0 for s in first]
        assert ids == sorted(ids, reverse=True)
        rest = steps(database, account_id=account_id, errors=True, before=ids[-1])
        assert len(rest) == 2
        assert max(s.id or 0 for s in rest) < min(ids)

    def test_filters(self, database: Database, account_id: str) -> None:
        delivery_id = queued(database, account_id, ["a@example.net"])
        message_id = message_of(database, delivery_id)
        log(database, account_id, None, ErrorType.HOST_NOT_FOUND, ErrorType.CONNECTION_LOST)
        middle = datetime.now(UTC)
        with database.write() as session:
            record(
                session,
                "retrieval_failed",
                account_id=account_id,
                message_id=message_id,
                error_type=ErrorType.FOLDER_NOT_FOUND,
            )

        def found(**wanted: Any) -> list[str | None]:
            return [s.error_type for s in steps(database, account_id=account_id, **wanted)]

        everything = ["FolderNotFound", "ConnectionLost", "HostNotFound"]
        assert found(errors=True) == everything
        assert found(error_type=ErrorType.CONNECTION_LOST) == ["ConnectionLost"]
        assert found(errors=True, since=middle) == ["FolderNotFound"]
        assert found(errors=True, until=middle) == everything[1:]
        assert found(event="retrieval_failed") == ["FolderNotFound"]
        assert found(message_id=message_id) == ["FolderNotFound", None]
        assert found(message_id="another") == []
        assert steps(database, account_id="another") == []


class TestExplanations:
    @pytest.mark.parametrize("phase", list(Phase))
    def test_a_server_that_repeats_the_mail_is_not_quoted(
        self, database: Database, account_id: str, phase: Phase
    ) -> None:
        said = f"canary-{uuid.uuid4().hex}"
        failure = reply_failure(ENDPOINT, phase, Reply(550, f"rejected: {said}", "5.7.1", None))
        assert said in failure.message
        mail = Mail(database, account_id)
        ticket = mail.begin()
        error = Failure.of(failure)
        mail.end(ticket, dict.fromkeys(range(3), REFUSED), phase, error)
        with database.write() as session:
            ledger.close(session, mail.delivery_id, error)
        found = steps(database, account_id=account_id, errors=True)
        assert {s.event for s in found} == {"attempt_ended", "message_settled"}
        for step in found:
            assert said not in repr(step.model_dump())
            assert "mx.example:25" in step.detail["explanation"]
            assert "550 5.7.1" in step.detail["explanation"]

    def test_nor_is_a_mailbox(self) -> None:
        status = Status.parse(b"NO [SERVERBUG] cannot read canary")
        assert status is not None
        failure = Failure.of(refusal(ENDPOINT, "opening the folder", status))
        assert "canary" in failure.message
        assert failure.explanation is not None
        assert "canary" not in failure.explanation
        assert "NO [SERVERBUG]" in failure.explanation

    def test_a_refused_recipient_is_an_error(self, database: Database, account_id: str) -> None:
        mail = Mail(database, account_id)
        ticket = mail.begin()
        mail.intend(ticket, [0])
        mail.end(ticket, {0: ACCEPTED, 1: REFUSED, 2: REFUSED})
        (step,) = steps(database, account_id=account_id, errors=True)
        assert (step.error_type, step.detail["refused"]) == ("ServerRefused", 2)
        error = history.logged_error(step)
        assert error.explanation == ADVICE[ErrorType.SERVER_REFUSED].meaning
        assert error.what_to_do == ADVICE[ErrorType.SERVER_REFUSED].remedy
        assert (error.phase, error.code) == ("done", 250)
        assert REFUSED.reply
        assert REFUSED.reply not in repr(step.model_dump())

    def test_a_type_of_another_version_is_shown(self, database: Database, account_id: str) -> None:
        with database.write() as session:
            session.add(
                LogEntry(
                    at=datetime.now(UTC),
                    account_id=account_id,
                    event="tried",
                    error_type="Unheard",
                    detail={},
                )
            )
        (step,) = steps(database, account_id=account_id, errors=True)
        assert history.logged_error(step).type == "Unheard"


class TestMails:
    def test_filters_and_pages(self, database: Database, account_id: str) -> None:
        mails = [Mail(database, account_id) for _ in range(4)]
        failed = mails[1].begin()
        mails[1].end(failed, dict.fromkeys(range(3), REFUSED))

        def found(limit: int = 50, **wanted: Any) -> list[str]:
            with database.read() as session:
                rows = history.mails(
                    session, MailFilter(account_id=account_id, **wanted), limit=limit
                )
            return [delivery.id for _, delivery in rows if delivery]

        newest = [m.delivery_id for m in reversed(mails)]
        assert found() == newest
        assert found(status=MessageStatus.FAILED) == [mails[1].delivery_id]
        assert found(direction=Direction.OUTGOING, limit=2) == newest[:2]
        assert found(direction=Direction.INCOMING) == []
        last = message_of(database, newest[1])
        with database.read() as session:
            moment = history.message_of(session, last).created_at
        assert found(before=last) == newest[2:]
        assert found(since=moment) == newest[:2]
        assert found(until=moment) == newest[2:]
        with pytest.raises(ConnectorError) as caught:
            found(before="nothing")
        assert caught.value.type is ErrorType.MESSAGE_NOT_FOUND

    def test_the_trail_of_one(self, database: Database, account_id: str) -> None:
        mail = Mail(database, account_id)
        lost = mail.begin("first")
        mail.intend(lost, [0])
        mail.fence()
        mail.end(mail.begin("second"), {1: REFUSED, 2: REFUSED})
        with database.read() as session:
            trail = history.trail(session, message_of(database, mail.delivery_id))
        (delivery,) = trail.deliveries
        assert [r.state for r in delivery.recipients] == [
            RecipientState.UNKNOWN,
            RecipientState.FAILED,
            RecipientState.FAILED,
        ]
        assert delivery.recipients[1].reply == REFUSED.reply
        assert [a.outcome for a in delivery.attempts] == ["unknown", "not_sent"]
        assert [s.event for s in trail.steps] == mail.events
        with pytest.raises(ConnectorError), database.read() as session:
            operator.delivery_of(session, "nothing")
