"""What callers are told of their mails, and what operators do about them, on real Temporal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlmodel import col
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.service import RPCError

from models.ids import callback_workflow_id, notify_workflow_id
from models.names import TaskQueue, WorkflowType
from models.system_error import GetSystemErrorInput
from models.tables import Delivery, LogEntry, Message
from starter.commands import Commands
from tests.e2e.conftest import MakeConnector
from tests.e2e.harness import Connector, execute, fresh, progress_of, refusal
from tests.e2e.test_callbacks import consumer_process, spec
from tests.e2e.test_webhooks import cli, hook, run
from tests.smtp_server import Fault, SmtpServer
from tests.web.receiver import LOOPBACK, Receiver, says
from tools.servers.process import free_port

SEND, NOTIFY = WorkflowType.SEND_EMAIL, WorkflowType.NOTIFY_SEND_OUTCOME
ERRORS = WorkflowType.GET_SYSTEM_ERROR
REPLY = "550 5.1.1 canary said the mailbox"


@pytest.fixture(scope="module")
def connector(make_connector: MakeConnector) -> Connector:
    """A connector that may reach the receivers of this file."""
    return make_connector(egress_allow=[LOOPBACK])


@pytest.fixture(scope="module")
def queue(connector: Connector) -> Iterator[str]:
    name = fresh("consumer-")
    with consumer_process(connector, name):
        yield name


def account_on(connector: Connector, port: int, **settings: Any) -> str:
    server = {"host": LOOPBACK, "port": port, "security": "none", "login": "none"}
    return connector.add_account(outgoing=server, **settings)


def mail(account: str, to: str = "a@example.net", **options: Any) -> dict[str, Any]:
    return {"account": account, "message": {"to": to, "content": "x"}, **options}


def both(queue: str, workflow: str = "Take", **changes: Any) -> dict[str, Any]:
    callback = spec(workflow, queue, **changes)
    return {"on_email_sent": callback, "on_send_failed": callback}


async def told(stranger: Client, kind: str, message_id: str, attempts: int = 1) -> Any:
    """What a callback was given; None when there was none."""
    workflow_id = callback_workflow_id(kind, f"{message_id}-{attempts}")
    try:
        return await stranger.get_workflow_handle(workflow_id).result()
    except RPCError:
        return None


def mails_of(connector: Connector, workflow_id: str) -> list[Message]:
    return connector.rows(Message, col(Message.driver).startswith(f"{workflow_id} "))


def mail_of(connector: Connector, workflow_id: str) -> Message:
    (message,) = mails_of(connector, workflow_id)
    return message


def steps(connector: Connector, message_id: str) -> list[str]:
    found = connector.rows(LogEntry, LogEntry.message_id == message_id)
    return [entry.event for entry in sorted(found, key=lambda entry: entry.id)]


class TestTelling:
    async def test_of_a_mail_that_is_sent(
        self, connector: Connector, client: Client, stranger: Client, queue: str
    ) -> None:
        async with SmtpServer() as smtp:
            account = account_on(connector, smtp.port)
            result = await execute(client, SEND, mail(account, **both(queue)))
        assert (result["status"], result["callbacks_failed"]) == ("sent", [])
        event = await told(stranger, "on_email_sent", result["message_id"])
        with connector.store.database.read() as session:
            account_id = connector.store.accounts.id_of(session, account)
        assert event == {
            "message_id": result["message_id"],
            "internet_message_id": result["internet_message_id"],
            "account_id": account_id,
            "status": "sent",
            "recipients": [
                {
                    "address": "a@example.net",
                    "kind": "to",
                    "state": "sent",
                    "code": 250,
                    "enhanced_code": result["recipients"][0]["enhanced_code"],
                }
            ],
            "counts": {"sent": 1},
            "attempts": 1,
            "sent_at": result["sent_at"],
        }
        assert await told(stranger, "on_send_failed", result["message_id"]) is None

    async def test_of_a_mail_that_is_sent_in_part(
        self, connector: Connector, client: Client, stranger: Client, queue: str
    ) -> None:
        async with SmtpServer(recipients={"b@example.net": REPLY}) as smtp:
            request = mail(account_on(connector, smtp.port), "a@example.net;b@example.net")
            result = await execute(client, SEND, request | both(queue))
        assert result["status"] == "partially_sent"
        assert "canary" in str(result["recipients"])
        for kind in ("on_email_sent", "on_send_failed"):
            event = await told(stranger, kind, result["message_id"])
            assert event["counts"] == {"sent": 1, "failed": 1}
            assert event["recipients"][1]["enhanced_code"] == "5.1.1"
            assert "canary" not in json.dumps(event)

    async def test_of_a_mail_that_no_server_judged(
        self, connector: Connector, client: Client, stranger: Client, queue: str
    ) -> None:
        async with SmtpServer(replies={"EHLO": "550 5.7.1 canary", "HELO": "550 canary"}) as smtp:
            workflow_id = fresh("test/")
            with pytest.raises(WorkflowFailureError) as caught:
                await execute(
                    client,
                    SEND,
                    mail(account_on(connector, smtp.port), **both(queue)),
                    id=workflow_id,
                )
        assert isinstance(caught.value.cause, ApplicationError)
        message = mail_of(connector, workflow_id)
        event = await told(stranger, "on_send_failed", message.id)
        assert event["status"] == "failed"
        assert event["error"]["type"] == caught.value.cause.type
        assert "canary" not in json.dumps(event)
        assert await told(stranger, "on_email_sent", message.id) is None

    async def test_of_a_mail_whose_outcome_is_unknown(
        self, connector: Connector, client: Client, stranger: Client, queue: str
    ) -> None:
        async with SmtpServer(faults=[Fault("reply", "rst", times=1)]) as smtp:
            account = account_on(connector, smtp.port, unknown_policy="at_most_once")
            result = await execute(client, SEND, mail(account, **both(queue)))
        message_id = result["message_id"]
        assert result["status"] == "unknown"
        assert (await told(stranger, "on_send_failed", message_id))["status"] == "unknown"

        # An operator finds out that it has arrived; whom to tell of it stands with the mail.
        marked = await run(connector, "queue", "mark-sent", message_id)
        assert marked["status"] == "sent"
        for _ in range(2):
            answer = await execute(client, NOTIFY, {"message_id": message_id})
            assert answer == {
                "message_id": message_id,
                "status": "sent",
                "callbacks_failed": [],
            }
        assert (await told(stranger, "on_email_sent", message_id))["status"] == "sent"
        workflow_id = callback_workflow_id("on_email_sent", f"{message_id}-1")
        runs = [w async for w in client.list_workflows(f"WorkflowId = '{workflow_id}'")]
        assert len(runs) == 1

    async def test_nobody_is_told_of_a_mail_that_waits(
        self, connector: Connector, client: Client, stranger: Client, queue: str
    ) -> None:
        handle = await client.start_workflow(
            SEND,
            mail(account_on(connector, free_port()), **both(queue)),
            id=fresh("test/"),
            task_queue=TaskQueue.ORCHESTRATION,
        )
        await progress_of(handle)
        message = mail_of(connector, handle.id)
        answer = await execute(client, NOTIFY, {"message_id": message.id})
        assert answer["status"] in ("queued", "sending")
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        for kind in ("on_email_sent", "on_send_failed"):
            for attempts in range(4):
                assert await told(stranger, kind, message.id, attempts) is None

    async def test_two_requests_with_one_key_tell_once(
        self, connector: Connector, client: Client, stranger: Client, queue: str
    ) -> None:
        async with SmtpServer() as smtp:
            account = account_on(connector, smtp.port)
            request = mail(account, idempotency_key="k", **both(queue))
            results = [await execute(client, SEND, request) for _ in range(2)]
        assert results[0]["message_id"] == results[1]["message_id"]
        workflow_id = callback_workflow_id("on_email_sent", f"{results[0]['message_id']}-1")
        runs = [w async for w in client.list_workflows(f"WorkflowId = '{workflow_id}'")]
        assert [w.status for w in runs] == [WorkflowExecutionStatus.COMPLETED]

    async def test_of_a_mail_that_the_queue_sends(
        self, connector: Connector, client: Client, stranger: Client, queue: str
    ) -> None:
        async with SmtpServer(recipients={"a@example.net": REPLY}) as smtp:
            account = account_on(connector, smtp.port)
            request = mail(account, queued=True, **both(queue))
            message_id = (await execute(client, SEND, request))["message_id"]
            await execute(client, WorkflowType.SEND_QUEUED_EMAILS, {"account": account})
        answer = await execute(client, NOTIFY, {"message_id": message_id})
        assert (answer["status"], answer["callbacks_failed"]) == ("failed", [])
        event = await told(stranger, "on_send_failed", message_id)
        assert event["error"]["type"] == "ServerRefused"
        assert "canary" not in json.dumps(event)
        found = await execute(client, ERRORS, {"account": account})
        assert [e["message_id"] for e in found["errors"]] == [message_id]
        assert "canary" not in json.dumps(found)

    async def test_by_webhook(self, connector: Connector, client: Client) -> None:
        async with SmtpServer() as smtp, Receiver() as receiver:
            request = mail(account_on(connector, smtp.port), on_email_sent=hook(receiver))
            result = await execute(client, SEND, request)
            (posted,) = receiver.requests
        event = json.loads(posted.body)
        assert event["type"] == "on_email_sent"
        assert event["data"]["message_id"] == result["message_id"]
        assert event["data"]["status"] == result["status"] == "sent"
        assert result["callbacks_failed"] == []

    @pytest.mark.parametrize("kind", ["on_email_sent", "on_send_failed"])
    async def test_a_bad_callback_is_named(self, connector: Connector, kind: str) -> None:
        client = await connector.client()
        found = await refusal(client, SEND, mail("x") | {kind: {"workflow": "X"}})
        assert (found.type, found.field) == ("InvalidInput", f"{kind}.task_queue")

    async def test_on_the_command_line(
        self, connector: Connector, stranger: Client, queue: str
    ) -> None:
        async with SmtpServer() as smtp, Receiver([says(410)]) as receiver:
            sending = ("send", "--account", account_on(connector, smtp.port), "--text", "x")
            sent = await run(
                connector,
                *sending,
                *("--to", "a@example.net", "--on-email-sent", f"Take@{queue}:plain"),
            )
            assert await told(stranger, "on_email_sent", sent["message_id"]) is not None
            ignored = await run(
                connector, *sending, "--to", "a@example.net", "--on-email-sent", receiver.url
            )
        assert (ignored["status"], ignored["callbacks_failed"]) == ("sent", ["on_email_sent"])


class TestNobodyListens:
    @pytest.mark.parametrize("how", ["refuses", "hangs", "webhook"])
    async def test_the_mail_keeps_its_result(
        self, connector: Connector, client: Client, queue: str, how: str
    ) -> None:
        async with SmtpServer() as smtp, Receiver([says(410)]) as receiver:
            callback = {
                "refuses": spec("Refuse", queue),
                "hangs": spec("Hang", queue, execution_timeout_seconds=1),
                "webhook": hook(receiver),
            }[how]
            account = account_on(connector, smtp.port)
            request = mail(account, on_email_sent=callback)
            result = await execute(client, SEND, request)
            assert len(smtp.accepted) == 1
        assert (result["status"], result["callbacks_failed"]) == ("sent", ["on_email_sent"])
        assert steps(connector, result["message_id"])[-1] == "callback_failed"

        found = await execute(client, ERRORS, {"account": account})
        error = found["errors"][0]
        assert (error["type"], error["message_id"]) == ("CallbackFailed", result["message_id"])
        assert error["what_to_do"].startswith("repair it")
        kinds = {e["event"] for e in found["errors"]}
        assert kinds == {"callback_failed"} | ({"webhook_dead"} if how == "webhook" else set())

    async def test_a_cancelled_run_has_sent_its_mail(
        self, connector: Connector, client: Client, queue: str
    ) -> None:
        async with SmtpServer() as smtp:
            handle = await client.start_workflow(
                SEND,
                mail(account_on(connector, smtp.port), on_email_sent=spec("Hang", queue)),
                id=fresh("test/"),
                task_queue=TaskQueue.ORCHESTRATION,
            )
            child = await self.child_of(client, connector, handle.id)
            await handle.cancel()
            result = await handle.result()
        assert (result["status"], result["callbacks_failed"]) == ("sent", ["on_email_sent"])
        with pytest.raises(WorkflowFailureError) as caught:
            await child.result()
        assert isinstance(caught.value.cause, CancelledError)

    async def test_a_run_that_was_terminated_is_made_up_for(
        self, connector: Connector, client: Client, stranger: Client, queue: str
    ) -> None:
        async with SmtpServer() as smtp:
            request = mail(account_on(connector, smtp.port), idempotency_key="k")
            handle = await client.start_workflow(
                SEND,
                request | {"on_email_sent": spec("Hang", queue)},
                id=fresh("test/"),
                task_queue=TaskQueue.ORCHESTRATION,
            )
            await self.child_of(client, connector, handle.id)
            await handle.terminate()
            result = await execute(client, SEND, request | both(queue))
            assert len(smtp.accepted) == 1
        assert result["callbacks_failed"] == []
        assert await told(stranger, "on_email_sent", result["message_id"]) is not None

    async def child_of(self, client: Client, connector: Connector, workflow_id: str) -> Any:
        async with asyncio.timeout(20):
            while True:
                for message in mails_of(connector, workflow_id):
                    child = callback_workflow_id("on_email_sent", f"{message.id}-1")
                    handle = client.get_workflow_handle(child)
                    try:
                        await handle.describe()
                    except RPCError:
                        pass
                    else:
                        return handle
                await asyncio.sleep(0.05)


class TestSystemErrors:
    async def test_the_latest_errors(self, connector: Connector, client: Client) -> None:
        async with SmtpServer(recipients={"a@example.net": REPLY}) as smtp:
            account = account_on(connector, smtp.port)
            result = await execute(client, SEND, mail(account))
        found = await execute(client, ERRORS, {"account": account, "limit": 1})
        (error,) = found["errors"]
        assert error["type"] == "ServerRefused"
        assert error["message_id"] == result["message_id"]
        assert error["phase"]
        assert error["code"] == 550
        assert error["what_to_do"]
        assert "canary" not in json.dumps(found)
        nothing = {"account": account, "error_type": "HostNotFound"}
        assert await execute(client, ERRORS, nothing) == {"errors": []}
        everything = await Commands(client).get_system_error(GetSystemErrorInput())
        assert error["id"] in [e.id for e in everything.errors]
        since = {"since": "2999-01-01T00:00:00Z"}
        assert await execute(client, ERRORS, since) == {"errors": []}

    @pytest.mark.parametrize(
        ("request_", "field"),
        [({"limit": 0}, "limit"), ({"error_type": "X"}, "error_type"), ({"acount": "x"}, "acount")],
    )
    async def test_a_bad_question_is_refused(
        self, client: Client, request_: dict[str, Any], field: str
    ) -> None:
        found = await refusal(client, ERRORS, request_)
        assert (found.type, found.field) == ("InvalidInput", field)

    async def test_a_mail_that_is_not_there(self, client: Client) -> None:
        found = await refusal(client, NOTIFY, {"message_id": "nothing"})
        assert found.type == "MessageNotFound"


class TestOperator:
    async def test_a_mail_that_a_workflow_sends_is_cancelled_there(
        self, connector: Connector, client: Client
    ) -> None:
        handle = await client.start_workflow(
            SEND,
            mail(account_on(connector, free_port())),
            id=fresh("test/"),
            task_queue=TaskQueue.ORCHESTRATION,
        )
        await progress_of(handle)
        message = mail_of(connector, handle.id)
        code, document = await asyncio.to_thread(cli, connector, "queue", "resend", message.id)
        assert (code, document["error"]["type"]) == (1, "StateConflict")
        assert handle.id in document["error"]["message"]

        cancelled = await run(connector, "queue", "cancel", message.id)
        assert cancelled["status"] == "cancelled"
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        assert isinstance(caught.value.cause, CancelledError)
        assert steps(connector, message.id)[-2:] == ["message_settled", "cancelled"]

    async def test_what_was_put_into_the_queue_is_left_to_it(
        self, connector: Connector, client: Client
    ) -> None:
        async with SmtpServer(faults=[Fault("reply", "rst", times=1)]) as smtp:
            account = account_on(connector, smtp.port, unknown_policy="at_most_once")
            request = mail(account, idempotency_key="k")
            result = await execute(client, SEND, request)
            assert result["status"] == "unknown"
            await run(connector, "queue", "resend", result["message_id"], "--yes")
            handle = await client.start_workflow(
                SEND, request, id=fresh("test/"), task_queue=TaskQueue.ORCHESTRATION
            )
            progress = await progress_of(handle)
            await handle.cancel()
            with pytest.raises(WorkflowFailureError):
                await handle.result()
            assert (progress["status"], progress["attempts"]) == ("queued", 1)
            assert len(smtp.connections) == 1
        assert steps(connector, result["message_id"])[-1] == "resent"

    async def test_a_failed_mail_is_sent_by_the_queue_once_its_account_is_resumed(
        self, connector: Connector, client: Client, stranger: Client, queue: str
    ) -> None:
        async with SmtpServer(recipients={"b@example.net": REPLY}) as smtp:
            account = account_on(connector, smtp.port)
            request = mail(account, "a@example.net;b@example.net", **both(queue))
            result = await execute(client, SEND, request)
            message_id = result["message_id"]
            assert result["status"] == "partially_sent"
            smtp.recipients.clear()
            assert (await run(connector, "account", "pause", account))["changed"]
            await run(connector, "queue", "resend", message_id)
            drain = WorkflowType.SEND_QUEUED_EMAILS, {"account": account}
            await execute(client, *drain)
            assert len(smtp.accepted) == 1
            await run(connector, "account", "resume", account)
            await execute(client, *drain)
            assert [sorted(m.rcpts) for m in smtp.accepted] == [
                ["a@example.net"],
                ["b@example.net"],
            ]
            assert len({m.sha256 for m in smtp.accepted}) == 1
        answer = await execute(client, NOTIFY, {"message_id": message_id})
        assert (answer["status"], answer["callbacks_failed"]) == ("sent", [])
        event = await told(stranger, "on_email_sent", message_id, attempts=2)
        assert event["counts"] == {"sent": 2}

    async def test_a_mail_whose_workflow_was_terminated_is_rescued(
        self, connector: Connector, client: Client
    ) -> None:
        handles = [
            await client.start_workflow(
                SEND,
                mail(account_on(connector, free_port())),
                id=fresh("test/"),
                task_queue=TaskQueue.ORCHESTRATION,
            )
            for _ in range(2)
        ]
        messages = []
        for handle in handles:
            await progress_of(handle)
            await handle.terminate()
            message = mail_of(connector, handle.id)
            messages.append(message.id)
        resent = await run(connector, "queue", "resend", messages[0])
        assert resent["status"] == "queued"
        assert steps(connector, messages[0])[-1] == "resent"
        cancelled = await run(connector, "queue", "cancel", messages[1])
        assert cancelled["status"] == "cancelled"


async def test_a_drain_tells_of_queued_mail(
    connector: Connector, client: Client, stranger: Client, queue: str
) -> None:
    async with SmtpServer(recipients={"nobody@example.net": 550}) as smtp:
        account = account_on(connector, smtp.port)
        options = {"queued": True} | both(queue, payloads="plain")
        sent = await execute(client, SEND, mail(account, **options))
        failed = await execute(client, SEND, mail(account, "nobody@example.net", **options))
        await execute(client, WorkflowType.SEND_QUEUED_EMAILS, {"account": account})
    for kind, result in (("on_send_failed", failed), ("on_email_sent", sent)):
        workflow_id = notify_workflow_id(result["message_id"])
        notified = await client.get_workflow_handle(workflow_id).result()
        assert notified["callbacks_failed"] == []
        assert await told(stranger, kind, result["message_id"])
    assert await told(stranger, "on_send_failed", sent["message_id"]) is None
    waiting = connector.rows(Delivery, col(Delivery.tell_at).is_not(None))
    assert waiting == []
