"""Mail that is queued and drained, through the real Temporal server."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, ScheduleOverlapPolicy

from models.delivery import MessageStatus
from models.names import WorkflowType
from models.tables import AccountRow, Attempt, Delivery
from tests.e2e.conftest import MakeConnector
from tests.e2e.harness import Connector, execute, fresh, refusal
from tests.e2e.test_webhooks import cli, run
from tests.smtp_server import Fault, SmtpServer

SEND, DRAIN = WorkflowType.SEND_EMAIL, WorkflowType.SEND_QUEUED_EMAILS


@pytest.fixture(scope="module")
def connector(make_connector: MakeConnector) -> Connector:
    return make_connector(queue_lease_seconds=3, queue_round_seconds=5)


@asynccontextmanager
async def sending_to(
    connector: Connector, *, password: str = "secret", **options: Any
) -> AsyncIterator[tuple[SmtpServer, str]]:
    """A server and an account that sends to it."""
    async with SmtpServer(**options) as server:
        login = {"login": "basic", "username": "u"} if server.auth else {"login": "none"}
        outgoing = {"host": server.host, "port": server.port, "security": "none"} | login
        yield server, connector.add_account(password=password, outgoing=outgoing)


async def put(client: Client, account: str, number: int = 0, **options: Any) -> Any:
    """Queue a mail; returns the result."""
    message = {"to": f"r{number}@example.net", "subject": f"mail {number}", "plain_body": "x"}
    message |= options.pop("message", {})
    request = {"account": account, "message": message, "queued": True} | options
    return await execute(client, SEND, request)


async def drain(client: Client, account: str, **options: Any) -> Any:
    return await execute(client, DRAIN, {"account": account} | options)


def deliveries(connector: Connector, result: dict[str, Any]) -> Delivery:
    (row,) = connector.rows(Delivery, Delivery.message_id == result["message_id"])
    return row  # type: ignore[no-any-return]


async def test_queued_then_sent_once_each(connector: Connector, client: Client) -> None:
    async with sending_to(connector) as (server, account):
        results = await asyncio.gather(*(put(client, account, n) for n in range(30)))
        assert {r["status"] for r in results} == {"queued"}
        assert server.accepted == []
        first = await drain(client, account, limit=10)
        assert (first["counts"]["sent"], first["due"]) == (10, 20)
        rest = await drain(client, account)
        assert (rest["counts"]["sent"], rest["due"]) == (20, 0)
        assert await drain(client, account) == rest | {"counts": dict.fromkeys(rest["counts"], 0)}
        taken = Counter(address for mail in server.accepted for address in mail.rcpts)
        assert taken == Counter(f"r{n}@example.net" for n in range(30))
        ids = {mail.message_id for mail in server.accepted}
        assert ids == {r["internet_message_id"] for r in results}
        # Kept connections: far fewer than mails.
        assert len(server.connections) <= 20
    assert {deliveries(connector, r).state for r in results} == {MessageStatus.SENT}


async def test_the_urgent_first(connector: Connector, client: Client) -> None:
    async with sending_to(connector) as (server, account):
        for number, priority in enumerate((5, 3, 1)):
            await put(client, account, number, priority=priority)
        await drain(client, account, limit=1)
        assert [mail.rcpts for mail in server.accepted] == [["r2@example.net"]]


async def test_not_before_and_not_after(connector: Connector, client: Client) -> None:
    now = datetime.now(UTC)
    async with sending_to(connector) as (server, account):
        early = await put(client, account, 1, send_at=(now + timedelta(hours=1)).isoformat())
        late = await put(client, account, 2, expires_at=(now + timedelta(seconds=1)).isoformat())
        await asyncio.sleep(1.5)
        assert (await drain(client, account))["counts"]["sent"] == 0
        assert server.accepted == []
    assert deliveries(connector, early).state == MessageStatus.QUEUED
    assert deliveries(connector, late).state == MessageStatus.CANCELLED


async def test_a_workflow_waits_and_expires_too(connector: Connector, client: Client) -> None:
    now = datetime.now(UTC)
    async with sending_to(connector) as (server, account):
        when = now + timedelta(seconds=2)
        done = await put(client, account, queued=False, send_at=when.isoformat())
        assert done["status"] == "sent"
        assert server.accepted[0].time >= when.timestamp()
        over = await put(client, account, queued=False, expires_at=now.isoformat())
        assert over["status"] == "cancelled"
        assert over["error"]["type"] == "Expired"
        assert len(server.accepted) == 1


async def test_a_key_is_one_mail(connector: Connector, client: Client) -> None:
    async with sending_to(connector) as (server, account):
        key = fresh("key")
        first = await put(client, account, idempotency_key=key)
        again = await put(client, account, idempotency_key=key)
        assert again["message_id"] == first["message_id"]
        waiting = asyncio.create_task(put(client, account, idempotency_key=key, queued=False))
        await drain(client, account)
        assert (await asyncio.wait_for(waiting, 30))["status"] == "sent"
        assert (await put(client, account, idempotency_key=key))["status"] == "sent"
        assert len(server.accepted) == 1
        conflict = await refusal(
            client,
            SEND,
            {
                "account": account,
                "queued": True,
                "idempotency_key": key,
                "message": {"to": "r0@example.net", "subject": "other", "plain_body": "x"},
            },
        )
        assert conflict.type == "IdempotencyConflict"


async def test_only_the_deferred_recipient_is_tried_again(
    connector: Connector, client: Client
) -> None:
    replies: dict[str, int | str] = {"later@x.test": 451, "nobody@x.test": 550}
    async with sending_to(connector, recipients=replies) as (server, account):
        to = "ok@x.test;later@x.test;nobody@x.test"
        result = await put(client, account, message={"to": to})
        counts = (await drain(client, account))["counts"]
        assert (counts["deferred"], counts["sent"]) == (1, 0)
        server.recipients.pop("later@x.test")
        await asyncio.sleep(0.5)
        assert (await drain(client, account))["counts"]["partially_sent"] == 1
        taken = Counter(address for mail in server.accepted for address in mail.rcpts)
        assert taken == {"ok@x.test": 1, "later@x.test": 1}
    assert deliveries(connector, result).state == MessageStatus.PARTIALLY_SENT


async def test_a_wrong_password_parks_the_account(connector: Connector, client: Client) -> None:
    async with sending_to(connector, auth=("u", "right"), password="wrong") as (server, account):
        result = await put(client, account)
        drained = await drain(client, account)
        assert (drained["parked_accounts"], drained["counts"]["failed"]) == (1, 0)
        (row,) = connector.rows(AccountRow, AccountRow.name == account)
        assert row.parked_reason == "CredentialsRejected"
        logins = len(server.connections)
        assert (await drain(client, account))["due"] == 0
        assert len(server.connections) == logins, "a refused password is not tried again and again"
        row = deliveries(connector, result)
        assert (row.state, row.attempts) == (MessageStatus.QUEUED, 0)


async def test_a_server_that_is_away_costs_one_mail_an_attempt(
    connector: Connector, client: Client
) -> None:
    async with sending_to(connector) as (server, account):
        pass
    results = [await put(client, account, n) for n in range(30)]
    await drain(client, account)
    tried = [row for row in (deliveries(connector, r) for r in results) if row.attempts]
    assert 1 <= len(tried) <= 10, "one for each connection that was tried"
    async with SmtpServer(port=server.port) as back:
        async with asyncio.timeout(30):
            while len(back.accepted) < 30:
                await drain(client, account)
                await asyncio.sleep(0.1)
    assert {deliveries(connector, r).state for r in results} == {MessageStatus.SENT}


async def test_a_reply_that_never_comes_is_unknown_and_held(
    connector: Connector, client: Client
) -> None:
    async with sending_to(connector, faults=[Fault("reply", "rst", times=1)]) as (_, account):
        result = await put(client, account, unknown_policy="at_most_once")
        assert (await drain(client, account))["counts"]["unknown"] == 1
        assert (await drain(client, account))["due"] == 0
        row = deliveries(connector, result)
        assert (row.state, row.held_reason) == (MessageStatus.UNKNOWN, "unknown")
        (attempt,) = connector.rows(Attempt, Attempt.delivery_id == row.id)
        assert (attempt.outcome, attempt.dot_intent_at is not None) == ("unknown", True)


async def test_a_large_mail(connector: Connector, client: Client) -> None:
    async with sending_to(connector) as (server, account):
        await put(client, account, message={"plain_body": "0123456789\r\n" * 30_000})
        assert (await drain(client, account))["counts"]["sent"] == 1
        assert len(server.accepted[0].content) > 300_000


async def test_an_account_that_nobody_knows(connector: Connector, client: Client) -> None:
    assert (await refusal(client, DRAIN, {"account": "nobody"})).type == "AccountNotFound"
    assert (await refusal(client, DRAIN, {"limit": 0})).field == "limit"


class TestCommands:
    """What an operator types."""

    async def test_filled_from_a_file_listed_and_drained(
        self, connector: Connector, tmp_path: Path
    ) -> None:
        lines = [
            {"message": {"to": f"r{n}@example.net", "plain_body": "x"}, "priority": 1 + n % 5}
            for n in range(6)
        ]
        text = "\n".join([*map(json.dumps, lines), '{"message": {"to": "nobody"}}', "{"])
        file = tmp_path / "mails.jsonl"
        file.write_text(text)
        async with sending_to(connector) as (server, account):
            code, added = await asyncio.to_thread(
                cli, connector, "queue", "add", str(file), "--account", account
            )
            assert (code, added["queued"], added["failed"]) == (1, 6, 2)
            wrong = {row["line"]: row["error"]["field"] for row in added["lines"] if "error" in row}
            assert wrong == {7: "message.to", 8: None}
            listed = (await run(connector, "queue", "list", "--account", account))["mails"]
            assert [mail["priority"] for mail in listed] == [1, 1, 2, 3, 4, 5]
            drained = await run(connector, "queue", "drain", "--account", account)
            assert (drained["counts"]["sent"], drained["due"]) == (6, 0)
            assert len(server.accepted) == 6
            assert (await run(connector, "queue", "list", "--account", account))["mails"] == []

    async def test_a_paused_account_waits(self, connector: Connector) -> None:
        send = ("send", "--to", "r@example.net", "--text", "x", "--queued", "--account")
        async with sending_to(connector) as (server, account):
            queued = await run(connector, *send, account)
            assert queued["status"] == "queued"
            await run(connector, "account", "pause", account)
            drained = await run(connector, "queue", "drain", "--account", account)
            assert drained["counts"]["sent"] == 0
            (waiting,) = (await run(connector, "queue", "list", "--account", account))["mails"]
            assert "paused" in waiting["why"]
            await run(connector, "account", "resume", account)
            await run(connector, "queue", "drain", "--account", account)
            assert len(server.accepted) == 1

    async def test_a_schedule_drains_by_itself(self, connector: Connector, client: Client) -> None:
        async with sending_to(connector) as (server, account):
            (row,) = connector.rows(AccountRow, AccountRow.name == account)
            made = await run(connector, "queue", "schedule", "--every", "1s", "--account", account)
            assert made["schedule"] == f"schedule/send-queued/{row.id}"
            handle = client.get_schedule_handle(made["schedule"])
            policy = (await handle.describe()).schedule.policy
            assert policy.overlap is ScheduleOverlapPolicy.SKIP
            await put(client, account)
            async with asyncio.timeout(30):
                while not server.accepted:  # noqa: ASYNC110 - the server tells nobody
                    await asyncio.sleep(0.1)
            changed = ("queue", "schedule", "--every", "1h", "--account", account)
            assert (await run(connector, *changed))["every"] == "1h"
            gone = ("queue", "unschedule", "--account", account)
            assert (await run(connector, *gone))["removed"]
            assert not (await run(connector, *gone))["removed"]

    async def test_an_interval_that_is_none(self, connector: Connector) -> None:
        code, said = await asyncio.to_thread(cli, connector, "queue", "schedule", "--every", "soon")
        assert (code, said["error"]["field"]) == (1, "every")
