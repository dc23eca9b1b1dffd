"""SendEmail over kept connections: limits and pauses delay mails, and cost them no attempt."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client

from activities.store import slots
from activities.store.scopes import account_scope
from models.names import WorkflowType
from models.tables import AccountRow, LogEntry, SlowDown
from tests.e2e.conftest import MakeConnector
from tests.e2e.harness import Connector, execute
from tests.smtp_server import SmtpServer

SEND = WorkflowType.SEND_EMAIL
MESSAGE = {"to": "to@example.net", "content": "x"}


@pytest.fixture(scope="module")
def own(make_connector: MakeConnector) -> Connector:
    return make_connector(connection_patience_seconds=0.5, slow_down_seconds=3)


@pytest.fixture
def connector(own: Connector) -> Connector:
    return own


def account_for(connector: Connector, smtp: SmtpServer, **settings: Any) -> str:
    server = {"host": smtp.host, "port": smtp.port, "security": "none", "login": "none"}
    return connector.add_account(outgoing=server, **settings)


def id_of(connector: Connector, name: str) -> str:
    (row,) = connector.rows(AccountRow, AccountRow.name == name)
    return str(row.id)


async def send(client: Client, account: str) -> dict[str, Any]:
    result: dict[str, Any] = await execute(client, SEND, {"account": account, "message": MESSAGE})
    return result


async def test_fifty_mails_over_three_connections(connector: Connector, client: Client) -> None:
    async with SmtpServer(delay_ms=(1, 10)) as smtp:
        account = account_for(connector, smtp, max_connections=3, max_send_attempts=0)
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, sum(c.ended is None for c in smtp.connections))
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        results = await asyncio.gather(*[send(client, account) for _ in range(50)])
        watching.cancel()
        assert most == 3
        assert {(r["status"], r["attempts"]) for r in results} == {("sent", 1)}
        assert len(smtp.accepted) == 50


async def test_waiting_for_a_connection_is_no_attempt(connector: Connector, client: Client) -> None:
    async with SmtpServer() as smtp:
        account = account_for(connector, smtp, max_connections=1, max_send_attempts=0)
        with connector.store.database.write() as session:
            scope, lease = account_scope(id_of(connector, account)), timedelta(seconds=3)
            assert slots.take(session, scope, 1, "a worker that died", lease) == 0
        result = await send(client, account)
        assert (result["status"], result["attempts"]) == ("sent", 1)
        kinds = [
            e.event for e in connector.rows(LogEntry, LogEntry.message_id == result["message_id"])
        ]
        assert kinds.count("attempt_started") == 1


async def test_a_pause_is_no_attempt(connector: Connector, client: Client) -> None:
    async with SmtpServer(replies={"MAIL": "421 4.7.0 too many mails"}) as smtp:
        account = account_for(connector, smtp, max_send_attempts=0)
        refused = await send(client, account)
        assert (refused["status"], refused["attempts"]) == ("failed", 1)
        scope = account_scope(id_of(connector, account))
        assert len(connector.rows(SlowDown, SlowDown.scope == scope)) == 1
        smtp.replies.clear()
        put_off = await send(client, account)
        assert (put_off["status"], put_off["attempts"]) == ("sent", 1)
        assert len(smtp.connections) == 2
        async with asyncio.timeout(5):
            while connector.rows(SlowDown, SlowDown.scope == scope):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_a_server_that_drops_idle_connections_costs_no_attempt(
    connector: Connector, client: Client
) -> None:
    async with SmtpServer() as smtp:
        account = account_for(connector, smtp, max_connections=1, max_send_attempts=0)
        for number in range(3):
            result = await send(client, account)
            assert (result["status"], result["attempts"]) == ("sent", 1)
            if number % 2:
                smtp.connections[-1].cut()
            else:
                smtp.connections[-1].replies["MAIL"] = "421 4.4.2 idle for too long"
        assert len(smtp.connections) == 3
