"""What a mail asks for and says of itself, through the workflow and real servers."""

from __future__ import annotations

import time
from email.message import Message as ReadMail
from typing import Any

import pytest
from temporalio.client import Client

from models.names import WorkflowType
from models.tables import LogEntry, Message
from tests.e2e.harness import Connector, execute, fresh, refusal
from tests.e2e.mails import delivered, mail, parsed
from tests.smtp_connection import EXTENSIONS
from tests.smtp_server import SmtpServer
from tools.servers.dovecot import Dovecot

SEND, RETRIEVE = WorkflowType.SEND_EMAIL, WorkflowType.RETRIEVE_EMAIL_MESSAGES


class Once(dict[str, int | str]):
    """Replies by recipient, each given once."""

    def get(self, key: str, default: Any = None) -> Any:
        return self.pop(key, default)


async def send(client: Client, account: str, **message: Any) -> dict[str, Any]:
    """Send a mail and return the result."""
    asked = {"account": account, "message": {"plain_body": "x"} | message}
    result: dict[str, Any] = await execute(client, SEND, asked)
    return result


def account_on(connector: Connector, smtp: SmtpServer) -> str:
    server = {"host": smtp.host, "port": smtp.port, "security": "none", "login": "none"}
    return connector.add_account(outgoing=server)


def ended_attempts(connector: Connector, message_id: str) -> list[dict[str, Any]]:
    rows = connector.rows(
        LogEntry, LogEntry.message_id == message_id, LogEntry.event == "attempt_ended"
    )
    return [row.detail for row in rows]


async def test_a_report_comes_back_with_the_mails_id(
    connector: Connector, client: Client, account: str, user: str, dovecot: Dovecot
) -> None:
    recipient = f"{fresh('to')}@example.net"
    result = await send(
        client,
        account,
        to=recipient,
        subject="Report, please",
        delivery_status={"notify": ["success"], "ret": "headers"},
    )
    assert result["status"] == "sent"
    (raw,) = delivered(dovecot, user)
    report = parsed(raw)
    assert report.get_content_type() == "multipart/report"
    status = next(p for p in report.walk() if p.get_content_type() == "message/delivery-status")
    groups = status.get_payload()
    assert isinstance(groups, list)
    about, of_recipient = groups
    assert isinstance(about, ReadMail)
    assert isinstance(of_recipient, ReadMail)
    assert about["Original-Envelope-Id"] == result["message_id"]
    assert of_recipient["Original-Recipient"] == f"rfc822;{recipient}"
    assert "dsn" not in ended_attempts(connector, result["message_id"])[0]


async def test_a_server_without_reports_takes_the_mail_all_the_same(
    connector: Connector, client: Client
) -> None:
    async with SmtpServer(extensions=EXTENSIONS) as smtp:
        result = await send(
            client,
            account_on(connector, smtp),
            to="to@example.net",
            delivery_status={"notify": ["failure"]},
        )
        assert result["status"] == "sent"
        assert not any("NOTIFY" in c for c in smtp.connections[0].commands)
    assert [a["dsn"] for a in ended_attempts(connector, result["message_id"])] == ["unavailable"]


async def test_an_answer_to_a_mail_that_was_received(
    connector: Connector, client: Client, account: str, user: str, dovecot: Dovecot
) -> None:
    asked = mail("Where is it?", to=user)
    dovecot.deliver(user, asked)
    await execute(client, RETRIEVE, {"account": account})
    name = str(parsed(asked)["Message-ID"])
    (received,) = connector.rows(
        Message, Message.direction == "incoming", Message.internet_message_id == name
    )
    recipient = f"{fresh('to')}@example.net"
    first = await send(client, account, to=recipient, reply_of=received.id)
    second = await send(client, account, to=recipient, reply_of=first["message_id"])
    answers = {
        str(m["Message-ID"]): m for m in map(parsed, delivered(dovecot, recipient, number=2))
    }
    one, two = (answers[r["internet_message_id"]] for r in (first, second))
    assert (one["In-Reply-To"], one["References"]) == (name, name)
    assert two["In-Reply-To"] == first["internet_message_id"]
    assert two["References"] == f"{name} {first['internet_message_id']}"


async def test_an_answer_to_an_unknown_mail_is_refused(client: Client, account: str) -> None:
    message = {"to": "a@example.net", "plain_body": "x", "reply_of": "nobody-knows"}
    found = await refusal(client, SEND, {"account": account, "message": message})
    assert (found.type, found.field) == ("MessageNotFound", "message.reply_of")


async def test_what_a_mail_says_of_itself_arrives(
    client: Client, account: str, dovecot: Dovecot
) -> None:
    recipient = f"{fresh('to')}@example.net"
    fields = {"X-Order": "4711", "Organization": "Bücher GmbH", "List-Id": "<news.example.org>"}
    ways = {"url": "https://x.example/leave", "mailto": "mailto:l@x.example", "one_click": True}
    await send(
        client,
        account,
        to=recipient,
        headers=fields,
        list_unsubscribe=ways,
        auto_submitted="auto-generated",
    )
    (raw,) = delivered(dovecot, recipient)
    got = parsed(raw)
    assert {name: str(got[name]) for name in fields} == fields
    assert got["List-Unsubscribe"] == "<https://x.example/leave>, <mailto:l@x.example>"
    assert got["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert got["Auto-Submitted"] == "auto-generated"


async def test_an_automatic_answer_has_no_sender_to_answer(
    client: Client, account: str, user: str, dovecot: Dovecot
) -> None:
    recipient = f"{fresh('to')}@example.net"
    result = await send(client, account, to=recipient, auto_submitted="auto-replied")
    assert result["status"] == "sent"
    (raw,) = delivered(dovecot, recipient)
    assert raw.startswith(b"Return-Path: <>") or b"\nReturn-Path: <>" in raw
    assert parsed(raw)["From"].addresses[0].addr_spec == user

    # Accepted and then undeliverable: nobody is told, the account's own address included.
    await send(client, account, to=f"{fresh('to')}@bounce.test", auto_submitted="auto-replied")
    await send(client, account, to=f"{fresh('to')}@bounce.test", subject="With a sender")
    deadline = time.monotonic() + 1
    bounces = delivered(dovecot, user)
    while time.monotonic() < deadline and len(bounces) == 1:
        bounces = delivered(dovecot, user)
    assert [b"With a sender" in bounce for bounce in bounces] == [True]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"headers": {"Bcc": "a@example.net"}}, "message.headers.Bcc"),
        ({"headers": {"Sekret": "a@example.net"}}, "message.headers"),
        ({"headers": {"X-A": "a\r\nBcc: b@example.net"}}, "message.headers.?"),
        ({"in_reply_to": "not an id"}, "message.in_reply_to"),
        ({"list_unsubscribe": {"url": "http://x.example"}}, "message.list_unsubscribe.url"),
        ({"auto_submitted": "yes"}, "message.auto_submitted"),
        ({"delivery_status": {"notify": ["often"]}}, "message.delivery_status.notify.0"),
    ],
)
async def test_what_cannot_be_said_is_refused_by_name(
    client: Client, account: str, message: dict[str, Any], field: str
) -> None:
    asked = {"account": account, "message": {"to": "a@example.net", "plain_body": "x"} | message}
    found = await refusal(client, SEND, asked)
    assert (found.type, found.field) == ("InvalidInput", field)


async def test_postfix_takes_the_address_type_of_an_international_recipient(
    client: Client, account: str
) -> None:
    # The report itself would need SMTPUTF8 on its way back, which Dovecot's LMTP does not offer.
    recipient = f"{fresh('größe')}@example.net"
    result = await send(client, account, to=recipient, delivery_status={"notify": ["never"]})
    assert (result["status"], result["recipients"][0]["code"]) == ("sent", 250)


async def test_an_international_address_in_the_header_needs_a_server_for_it(
    connector: Connector, client: Client
) -> None:
    async with SmtpServer(extensions=("8BITMIME", "SIZE")) as smtp:
        account = account_on(connector, smtp)
        message = {"to": "フライ@example.net; b@example.net", "plain_body": "x"}
        found = await refusal(client, SEND, {"account": account, "message": message})
        assert found.type == "CapabilityMissing"
        assert not any(c.startswith("MAIL") for c in smtp.connections[0].commands)
        assert len(smtp.connections) == 1


async def test_an_international_blind_copy_does_not_keep_the_mail_from_the_others(
    connector: Connector, client: Client
) -> None:
    async with SmtpServer(extensions=("8BITMIME", "SIZE")) as smtp:
        result = await send(
            client, account_on(connector, smtp), to="b@straße.example", bcc="フライ@example.net"
        )
        assert (result["status"], result["attempts"]) == ("partially_sent", 1)
        states = {r["kind"]: (r["state"], r["code"]) for r in result["recipients"]}
        assert states == {"to": ("sent", 250), "bcc": ("failed", 553)}
        assert [mail.rcpts for mail in smtp.accepted] == [["b@xn--strae-oqa.example"]]


async def test_too_many_recipients_come_with_the_next_attempt(
    connector: Connector, client: Client
) -> None:
    async with SmtpServer() as smtp:
        smtp.recipients = Once({"b@example.net": "552 too many recipients"})
        result = await send(client, account_on(connector, smtp), to="a@example.net; b@example.net")
    assert (result["status"], result["attempts"]) == ("sent", 2)
    assert [mail.rcpts for mail in smtp.accepted] == [["a@example.net"], ["b@example.net"]]
