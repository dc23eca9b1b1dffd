"""`log`, `queue` and `account pause|resume` on the command line."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import typer

from activities.store import ledger, outbox
from activities.store.assembly import Store, open_store
from activities.store.ledger import Verdict
from models.callback import SendCallbacks, WebhookSpec
from models.delivery import Phase, RecipientState
from models.errors import ErrorType
from models.failure import Failure
from models.tables import Delivery, Message
from starter.cli.moments import moment
from tests.starter.kit import ADD, Cli
from tests.unit.store_kit import queued

SENT = Verdict(RecipientState.SENT, 250, "2.0.0", "ok")
REFUSED = Verdict(RecipientState.FAILED, 550, "5.1.1", "no such \x1b[31muser")
LATER = Verdict(RecipientState.DEFERRED, 451, "4.7.1", "later")
UNKNOWN = Verdict(RecipientState.UNKNOWN)
ERROR = Failure(
    type=ErrorType.CONNECTION_LOST,
    message="canary",
    temporary=True,
    code=451,
    explanation="mx.example:25, sending the content: the connection was cut",
)


@dataclass(frozen=True)
class Shop:
    """A store with an account whose mails the queue sends."""

    store: Store
    account_id: str

    def mail(self, *verdicts: Verdict, error: Failure | None = None, **values: Any) -> str:
        """A mail after one attempt; returns its id."""
        delivery_id = queued(
            self.store.database, self.account_id, [f"r{n}@example.net" for n in range(2)]
        )
        with self.store.database.write() as session:
            row = session.get_one(Delivery, delivery_id)
            row.queued = True
            for name, value in values.items():
                setattr(row, name, value)
            session.add(row)
            message_id = row.message_id
        if verdicts:
            with self.store.database.write() as session:
                ticket = ledger.begin_attempt(session, delivery_id, str(uuid.uuid4()), "w")
                assert ticket is not None
                ledger.intend_dot(session, ticket, [0, 1])
            with self.store.database.write() as session:
                ledger.end_attempt(session, ticket, dict(enumerate(verdicts)), Phase.REPLY, error)
        return message_id


@pytest.fixture
def shop(cli: Cli) -> Iterator[Shop]:
    account_id = cli(*ADD, "--json", stdin="secret").json["id"]
    store = open_store(cli.settings)
    yield Shop(store, account_id)
    store.close()


class TestErrors:
    def test_an_error_says_what_to_do(self, cli: Cli, shop: Shop) -> None:
        message_id = shop.mail(LATER, LATER, error=ERROR)
        (error,) = cli("log", "errors", "--account", "Sales", "--json").json
        assert error == {
            "id": error["id"],
            "at": error["at"],
            "type": "ConnectionLost",
            "explanation": ERROR.explanation,
            "what_to_do": "it is tried again",
            "event": "attempt_ended",
            "account_id": shop.account_id,
            "message_id": message_id,
            "phase": "reply",
            "code": 451,
        }
        assert "ConnectionLost" in cli("log", "errors").out
        assert "canary" not in cli("log", "errors").out

    def test_filters(self, cli: Cli, shop: Shop) -> None:
        lost = shop.mail(LATER, LATER, error=ERROR)
        refused = shop.mail(REFUSED, SENT)

        def found(*options: str) -> list[str]:
            answer = cli("log", "errors", *options, "--json")
            assert answer.code == 0, answer.out
            return [error["message_id"] for error in answer.json]

        assert found() == [refused, lost]
        assert found("--type", "ServerRefused") == [refused]
        assert found("--message", lost) == [lost]
        assert found("--since", "1h", "--until", "2999-01-01") == [refused, lost]
        assert found("--until", "1h") == []
        assert found("--limit", "1") == [refused]
        last = cli("log", "errors", "--limit", "1", "--json").json[0]["id"]
        assert found("--before", str(last)) == [lost]

    def test_a_deleted_account_is_known_by_its_id(self, cli: Cli, shop: Shop) -> None:
        shop.mail(REFUSED, REFUSED)
        assert cli("account", "delete", "Sales", "--yes").code == 0
        assert len(cli("log", "errors", "--account", shop.account_id, "--json").json) == 1
        gone = cli("log", "errors", "--account", "Sales", "--json")
        assert gone.json["error"]["type"] == "AccountNotFound"

    @pytest.mark.parametrize("text", ["yesterday", "1x", "2026-13-01", ""])
    def test_a_moment_that_is_none(self, cli: Cli, text: str) -> None:
        answer = cli("log", "errors", "--since", text, "--json")
        assert (answer.code, answer.json["error"]["type"]) == (2, "UsageError")


class TestMails:
    def test_they_are_listed_with_how_they_stand(self, cli: Cli, shop: Shop) -> None:
        sent = shop.mail(SENT, SENT)
        failed = shop.mail(REFUSED, REFUSED, held_reason="operator")
        everything = cli("log", "mails", "--direction", "outgoing", "--json").json
        assert [m["id"] for m in everything] == [failed, sent]
        (found,) = cli("log", "mails", "--account", "Sales", "--status", "failed", "--json").json
        assert (found["id"], found["attempts"], found["held_reason"]) == (failed, 1, "operator")
        assert cli("log", "mails", "--direction", "incoming", "--json").json == []
        page = cli("log", "mails", "--before", failed, "--json").json
        assert [m["id"] for m in page] == [sent]
        assert failed in cli("log", "mails").out

    def test_the_trail_of_one(self, cli: Cli, shop: Shop) -> None:
        message_id = shop.mail(REFUSED, UNKNOWN)
        shown = cli("log", "show", message_id, "--json").json
        (delivery,) = shown["deliveries"]
        assert [r["state"] for r in delivery["recipients"]] == ["failed", "unknown"]
        assert delivery["recipients"][0]["reply"] == REFUSED.reply
        (attempt,) = delivery["attempts"]
        assert (attempt["phase"], attempt["outcome"]) == ("reply", "unknown")
        assert [s["event"] for s in shown["steps"]] == [
            "message_composed",
            "attempt_started",
            "attempt_ended",
        ]
        out = cli("log", "show", message_id).out
        assert "no such" in out
        assert "\x1b" not in out
        missing = cli("log", "show", "nothing", "--json")
        assert missing.json["error"]["type"] == "MessageNotFound"

    def test_whom_to_tell_is_not_shown(self, cli: Cli, shop: Shop) -> None:
        message_id = shop.mail()
        told = SendCallbacks(on_email_sent=WebhookSpec(webhook="https://a.example/canary"))
        with shop.store.database.write() as session:
            row = session.get_one(Message, message_id)
            row.callbacks = shop.store.callbacks.pack(told)
            session.add(row)
        for command in (["log", "mails"], ["message", "list"], ["log", "show", message_id]):
            out = cli(*command, "--json").out
            assert message_id in out
            assert "callbacks" not in out


class TestQueue:
    def test_resend(self, cli: Cli, shop: Shop) -> None:
        message_id = shop.mail(REFUSED, SENT)
        answer = cli("queue", "resend", message_id, "--json")
        assert answer.code == 0
        assert answer.json["status"] == "queued"
        assert [r["state"] for r in answer.json["recipients"]] == ["pending", "sent"]
        assert cli("queue", "resend", message_id).code == 0

    def test_what_may_go_out_twice_wants_a_yes(self, cli: Cli, shop: Shop) -> None:
        for message_id, options in (
            (shop.mail(UNKNOWN, SENT), []),
            (shop.mail(SENT, SENT), ["--again"]),
        ):
            answer = cli("queue", "resend", message_id, *options)
            assert answer.code == 1
            assert "--yes" in answer.err
            assert "twice" in answer.err or "second time" in answer.err
            states = cli("log", "show", message_id, "--json").json["deliveries"][0]["recipients"]
            assert "pending" not in {r["state"] for r in states}
            answer = cli("queue", "resend", message_id, *options, "--yes", "--json")
            assert answer.json["status"] == "queued"

    def test_what_is_sent_is_refused(self, cli: Cli, shop: Shop) -> None:
        answer = cli("queue", "resend", shop.mail(SENT, SENT), "--json")
        assert (answer.code, answer.json["error"]["type"]) == (1, "StateConflict")
        assert "--again" in answer.json["error"]["message"]

    def test_mark_sent_and_cancel(self, cli: Cli, shop: Shop) -> None:
        message_id = shop.mail(UNKNOWN, SENT)
        assert cli("queue", "mark-sent", message_id, "--json").json["status"] == "sent"
        waiting = shop.mail(LATER, LATER)
        assert cli("queue", "cancel", waiting, "--json").json["status"] == "cancelled"
        again = cli("queue", "cancel", waiting, "--json")
        assert (again.code, again.json["status"]) == (0, "cancelled")
        for command in ("mark-sent", "cancel"):
            shut = cli("queue", command, shop.mail(REFUSED, REFUSED), "--json")
            assert shut.json["error"]["type"] == "StateConflict"
            missing = cli("queue", command, "nothing", "--json")
            assert missing.json["error"]["type"] == "MessageNotFound"


def test_pause_and_resume(cli: Cli, shop: Shop) -> None:
    held = shop.mail(held_reason="CredentialsRejected")
    assert cli("account", "pause", "Sales", "--json").json == {
        "account_id": shop.account_id,
        "paused": True,
        "changed": True,
    }
    assert "already" in cli("account", "pause", "Sales").out
    assert cli("account", "resume", "Sales", "--json").json == {
        "account_id": shop.account_id,
        "paused": False,
        "changed": True,
        "released": 1,
    }
    assert "not paused" in cli("account", "resume", "Sales").out
    with shop.store.database.read() as session:
        row = session.get_one(Delivery, outbox.delivery_id_of(held))
    assert row.held_reason is None
    assert json.loads(cli("account", "pause", "nobody", "--json").out)["error"]["type"] == (
        "AccountNotFound"
    )


def test_moments() -> None:
    assert moment("2026-11-30") == datetime(2026, 11, 30, tzinfo=UTC)
    assert moment("2026-11-30T08:00:00+01:00") == datetime(2026, 11, 30, 7, tzinfo=UTC)
    now = datetime.now(UTC)
    assert now - timedelta(minutes=91) < moment("90m") < now - timedelta(minutes=89)
    with pytest.raises(typer.BadParameter):
        moment("soon")
