"""Callbacks: workflows of a consumer who has its own worker, its own process and no key of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from sqlmodel import col
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError

from models.ids import callback_workflow_id
from models.names import TaskQueue, WorkflowType
from models.tables import Acknowledgement, CallbackDelivery, Folder, Message
from tests.e2e.conftest import incoming
from tests.e2e.harness import (
    Connector,
    execute,
    field_of,
    fresh,
    progress_of,
    refusal,
)
from tests.e2e.mails import RawLog, delivered, mail
from tests.e2e.processes import ChildProcess, child, python
from tools.servers.dovecot import Dovecot

RETRIEVE = WorkflowType.RETRIEVE_EMAIL_MESSAGES


@contextmanager
def consumer_process(connector: Connector, queue: str, *extra: str) -> Iterator[ChildProcess]:
    settings = connector.settings
    address, namespace = settings.temporal_address or "", settings.temporal_namespace or ""
    command = python("-m", "tests.e2e.callback_worker", address, namespace, queue, *extra)
    with child(command, settings.data_dir / f"{queue}.log", ready="ready") as process:
        yield process


@pytest.fixture(scope="module")
def queue(common_connector: Connector) -> Iterator[str]:
    """The task queue of a consumer with the SDK's default converter."""
    name = fresh("consumer-")
    with consumer_process(common_connector, name):
        yield name


@pytest.fixture(scope="module")
def sealed_queue(common_connector: Connector) -> Iterator[str]:
    """The task queue of a consumer who has our key and uses our converter."""
    name = fresh("consumer-")
    with consumer_process(common_connector, name, str(common_connector.settings.data_dir)):
        yield name


@pytest.fixture
def mails(dovecot: Dovecot, user: str) -> list[bytes]:
    """Five mails in the inbox, numbered 1 to 5 by the server."""
    raws = [mail(f"Mail {number}") for number in range(1, 6)]
    for raw in raws:
        dovecot.deliver(user, raw)
    return raws


def spec(workflow: str, queue: str, **changes: Any) -> dict[str, Any]:
    return {
        "workflow": workflow,
        "task_queue": queue,
        "payloads": "plain",
        "max_attempts": 1,
        **changes,
    }


def request(account: str, **options: Any) -> dict[str, Any]:
    return {"account": account, "replicate_everything": True, "batch_size": 2, **options}


def batches(connector: Connector, retrieval_id: str) -> list[CallbackDelivery]:
    """The batches of a run in order."""
    rows = connector.rows(CallbackDelivery, CallbackDelivery.retrieval_id == retrieval_id)
    return sorted(rows, key=lambda row: row.number)


def first_batch(connector: Connector, account: str) -> CallbackDelivery:
    """The first batch of the one run that an account has had."""
    with connector.store.database.read() as session:
        account_id = connector.store.accounts.get(session, account).id
    folders = [f.id for f in connector.rows(Folder, Folder.account_id == account_id)]
    rows = connector.rows(CallbackDelivery, col(CallbackDelivery.folder_id).in_(folders))
    first: CallbackDelivery = min(rows, key=lambda row: row.number)
    return first


async def failure(client: Client, *inputs: Any) -> tuple[str | None, str | None]:
    """The type and the field of a run's failure."""
    found = await refusal(client, RETRIEVE, *inputs)
    return found.type, found.field


async def started_with(client: Client, workflow_id: str) -> Any:
    """The payload in a workflow's first event, as it stands in the history."""
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    (payload,) = history.events[0].workflow_execution_started_event_attributes.input.payloads
    return payload


class TestTaking:
    async def test_batches_come_in_order_and_once(
        self,
        connector: Connector,
        client: Client,
        stranger: Client,
        account: str,
        queue: str,
        mails: Sequence[bytes],
    ) -> None:
        result = await execute(
            client, RETRIEVE, request(account, on_email_fetch=spec("Take", queue))
        )
        assert (result["retrieved"], result["batches"]) == (5, 3)
        found = batches(connector, result["retrieval_id"])
        taken = [
            # The consumer's own client reads its result: it has no key either.
            await stranger.get_workflow_handle(str(row.workflow_id)).result()
            for row in found
        ]
        assert [[m["uid"] for m in batch["messages"]] for batch in taken] == [[1, 2], [3, 4], [5]]
        assert [batch["batch_id"] for batch in taken] == [row.id for row in found]
        for batch in taken:
            assert batch["account_id"] == result["account_id"]
            assert (batch["folder"], batch["consumer"]) == ("INBOX", "default")
            for summary in batch["messages"]:
                (message,) = connector.rows(Message, Message.id == summary["id"])
                assert summary["subject"] == message.subject == f"Mail {summary['uid']}"
                assert summary["sender"] == "sender@example.org"
                assert summary["size"] == message.size
                assert not summary["truncated"]

        # One child for each batch, each begun after the one before had completed.
        ended = None
        for row in found:
            runs = [w async for w in client.list_workflows(f"WorkflowId = '{row.workflow_id}'")]
            (run,) = runs
            assert run.status is WorkflowExecutionStatus.COMPLETED
            assert ended is None or run.start_time >= ended
            ended = run.close_time

    async def test_plain_payloads_are_plain_json(
        self,
        connector: Connector,
        client: Client,
        account: str,
        queue: str,
        mails: Sequence[bytes],
    ) -> None:
        result = await execute(
            client, RETRIEVE, request(account, on_email_fetch=spec("Take", queue))
        )
        row = batches(connector, result["retrieval_id"])[0]
        payload = await started_with(client, str(row.workflow_id))
        assert dict(payload.metadata) == {"encoding": b"json/plain"}
        assert b"Mail 1" in payload.data

    async def test_encrypted_payloads(
        self,
        connector: Connector,
        client: Client,
        account: str,
        sealed_queue: str,
        mails: Sequence[bytes],
    ) -> None:
        callback = spec("Take", sealed_queue)
        del callback["payloads"]  # encrypted is the default
        result = await execute(client, RETRIEVE, request(account, on_email_fetch=callback))
        row = batches(connector, result["retrieval_id"])[0]
        payload = await started_with(client, str(row.workflow_id))
        assert payload.metadata["encoding"] == b"binary/encrypted"
        assert b"Mail 1" not in payload.data
        taken = await client.get_workflow_handle(str(row.workflow_id)).result()
        assert [m["subject"] for m in taken["messages"]] == ["Mail 1", "Mail 2"]

    async def test_on_fetch_complete(
        self,
        client: Client,
        stranger: Client,
        account: str,
        queue: str,
        mails: Sequence[bytes],
    ) -> None:
        result = await execute(
            client, RETRIEVE, request(account, on_fetch_complete=spec("Take", queue))
        )
        workflow_id = callback_workflow_id("on_fetch_complete", result["retrieval_id"])
        told = await stranger.get_workflow_handle(workflow_id).result()
        assert told == {
            "retrieval_id": result["retrieval_id"],
            "account_id": result["account_id"],
            "folder": "INBOX",
            "consumer": "default",
            "retrieved": 5,
            "batches": 3,
        }

    async def test_an_empty_run_calls_nobody_but_says_it_is_complete(
        self, connector: Connector, client: Client, stranger: Client, account: str, queue: str
    ) -> None:
        callbacks = {
            "on_email_fetch": spec("Take", queue),
            "on_fetch_complete": spec("Take", queue),
        }
        result = await execute(client, RETRIEVE, request(account, **callbacks))
        assert batches(connector, result["retrieval_id"]) == []
        workflow_id = callback_workflow_id("on_fetch_complete", result["retrieval_id"])
        assert (await stranger.get_workflow_handle(workflow_id).result())["retrieved"] == 0


class TestRefusing:
    async def test_a_failed_callback_is_retried_by_its_policy(
        self,
        connector: Connector,
        client: Client,
        stranger: Client,
        account: str,
        queue: str,
        mails: Sequence[bytes],
    ) -> None:
        callback = spec("RefuseOnce", queue, max_attempts=2, retry_interval_seconds=0.1)
        result = await execute(
            client, RETRIEVE, request(account, batch_size=5, on_email_fetch=callback)
        )
        assert result["retrieved"] == 5
        (row,) = batches(connector, result["retrieval_id"])
        assert await stranger.get_workflow_handle(str(row.workflow_id)).result() == 2

    async def test_mail_stays_and_comes_again(
        self,
        connector: Connector,
        client: Client,
        stranger: Client,
        account: str,
        user: str,
        dovecot: Dovecot,
        queue: str,
        mails: Sequence[bytes],
    ) -> None:
        refused = request(
            account,
            handling="remove",
            on_email_fetch=spec("Refuse", queue, max_attempts=2, retry_interval_seconds=0.1),
            on_fetch_error=spec("Take", queue),
        )
        workflow_id = fresh("test/")
        with pytest.raises(WorkflowFailureError) as caught:
            await execute(client, RETRIEVE, refused, id=workflow_id)
        assert isinstance(caught.value.cause, ApplicationError)
        assert caught.value.cause.type == "CallbackFailed"
        assert field_of(caught.value.cause.details) == "on_email_fetch"
        first = first_batch(connector, account)
        told = await stranger.get_workflow_handle(
            callback_workflow_id("on_fetch_error", first.retrieval_id)
        ).result()
        assert told["error"]["type"] == "CallbackFailed"
        assert told["retrieved"] == 0
        attempts = [w async for w in client.list_workflows(f"WorkflowId = '{first.workflow_id}'")]
        assert len(attempts) == 2
        assert len(delivered(dovecot, user, number=5)) == 5

        result = await execute(client, RETRIEVE, refused | {"on_email_fetch": spec("Take", queue)})
        assert (result["retrieved"], result["handled"]) == (5, 5)
        again = batches(connector, result["retrieval_id"])
        taken = await stranger.get_workflow_handle(str(again[0].workflow_id)).result()
        assert [m["uid"] for m in taken["messages"]] == [1, 2]
        assert again[0].id != first.id
        (abandoned,) = connector.rows(CallbackDelivery, CallbackDelivery.id == first.id)
        assert abandoned.state == "abandoned"
        # Removed only now.
        assert not list((dovecot.maildir(user) / "cur").iterdir())

    async def test_what_was_acknowledged_is_not_delivered_again(
        self,
        connector: Connector,
        client: Client,
        stranger: Client,
        account: str,
        queue: str,
        mails: Sequence[bytes],
    ) -> None:
        half = request(account, on_email_fetch=spec("RefuseSecondBatch", queue))
        assert await failure(client, half) == ("CallbackFailed", "on_email_fetch")
        result = await execute(
            client, RETRIEVE, request(account, on_email_fetch=spec("Take", queue))
        )
        assert result["retrieved"] == 3
        taken = [
            await stranger.get_workflow_handle(str(row.workflow_id)).result()
            for row in batches(connector, result["retrieval_id"])
        ]
        assert [[m["uid"] for m in batch["messages"]] for batch in taken] == [[3, 4], [5]]

    @pytest.mark.parametrize("case", ["hanging", "nobody"])
    async def test_nobody_answers(
        self,
        case: str,
        client: Client,
        stranger: Client,
        connector: Connector,
        account: str,
        queue: str,
        mails: Sequence[bytes],
    ) -> None:
        where = queue if case == "hanging" else fresh("nobody-")
        callback = spec("Hang", where, execution_timeout_seconds=1, max_attempts=3)
        asked = request(
            account, on_email_fetch=callback, on_fetch_error=spec("Take", queue), handling="remove"
        )
        assert await failure(client, asked) == ("CallbackFailed", "on_email_fetch")
        first = first_batch(connector, account)
        workflow_id = callback_workflow_id("on_fetch_error", first.retrieval_id)
        told = await stranger.get_workflow_handle(workflow_id).result()
        assert told["error"]["type"] == "CallbackFailed"
        result = await execute(client, RETRIEVE, asked | {"on_email_fetch": spec("Take", queue)})
        assert (result["retrieved"], result["handled"]) == (5, 5)

    async def test_an_error_callback_that_fails_hides_nothing(
        self, client: Client, account: str, queue: str
    ) -> None:
        asked = request(account, folder="Nowhere", on_fetch_error=spec("Refuse", queue))
        assert await failure(client, asked) == ("FolderNotFound", "folder")

    async def test_a_failed_opening_is_told(
        self, client: Client, stranger: Client, account: str, queue: str
    ) -> None:
        workflow_id = fresh("test/")
        asked = request(account, folder="Nowhere", on_fetch_error=spec("Take", queue))
        with pytest.raises(WorkflowFailureError):
            await execute(client, RETRIEVE, asked, id=workflow_id)
        history = await client.get_workflow_handle(workflow_id).fetch_history()
        (told_id,) = [
            e.start_child_workflow_execution_initiated_event_attributes.workflow_id
            for e in history.events
            if e.event_type == EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED
        ]
        told = await stranger.get_workflow_handle(told_id).result()
        assert told["error"]["type"] == "FolderNotFound"
        assert told["error"]["field"] == "folder"
        assert (told["folder"], told["retrieved"]) == ("Nowhere", 0)

    async def test_a_completion_callback_that_fails(
        self,
        connector: Connector,
        client: Client,
        account: str,
        queue: str,
        mails: Sequence[bytes],
    ) -> None:
        asked = request(account, on_fetch_complete=spec("Refuse", queue))
        assert await failure(client, asked) == ("CallbackFailed", "on_fetch_complete")
        # The mails had been handed over all the same.
        assert (await execute(client, RETRIEVE, request(account)))["retrieved"] == 0


class TestOneAtATime:
    async def test_a_busy_folder_and_a_cancelled_run(
        self,
        connector: Connector,
        client: Client,
        account: str,
        queue: str,
        mails: Sequence[bytes],
    ) -> None:
        handle = await client.start_workflow(
            RETRIEVE,
            request(account, on_email_fetch=spec("Hang", queue)),
            id=fresh("test/"),
            task_queue=TaskQueue.ORCHESTRATION,
        )
        progress = await progress_of(handle)
        assert (progress["total"], progress["batches"], progress["retrieved"]) == (5, 3, 0)
        assert await failure(client, request(account)) == ("MailboxBusy", "folder")

        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as caught:
            await asyncio.wait_for(handle.result(), 10)
        assert isinstance(caught.value.cause, CancelledError)
        result = await execute(client, RETRIEVE, request(account))
        assert result["retrieved"] == 5

    async def test_a_terminated_run_frees_the_folder(
        self,
        connector: Connector,
        client: Client,
        account: str,
        queue: str,
        mails: Sequence[bytes],
    ) -> None:
        handle = await client.start_workflow(
            RETRIEVE,
            request(account, on_email_fetch=spec("Hang", queue)),
            id=fresh("test/"),
            task_queue=TaskQueue.ORCHESTRATION,
        )
        await progress_of(handle)
        await handle.terminate()
        result = await execute(client, RETRIEVE, request(account))
        assert result["retrieved"] == 5


class TestSecondConsumer:
    async def test_it_gets_all_of_it_from_the_store(
        self,
        connector: Connector,
        client: Client,
        stranger: Client,
        queue: str,
        user: str,
        talkative: Dovecot,
    ) -> None:
        for number in range(1, 6):
            talkative.deliver(user, mail(f"Mail {number}"))
        log = RawLog(talkative, user)
        account = connector.add_account(
            password=talkative.password, incoming=incoming(talkative, username=user)
        )
        asked = request(account, on_email_fetch=spec("Take", queue))
        first = await execute(client, RETRIEVE, asked)
        assert b"BODY.PEEK[]" in log.take()

        second = await execute(client, RETRIEVE, asked | {"consumer": "archive"})
        assert (first["retrieved"], second["retrieved"]) == (5, 5)
        assert second["consumer"] == "archive"
        ids = [
            [
                m["id"]
                for row in batches(connector, result["retrieval_id"])
                for m in (await stranger.get_workflow_handle(str(row.workflow_id)).result())[
                    "messages"
                ]
            ]
            for result in (first, second)
        ]
        assert ids[0] == ids[1]
        said = log.take()
        assert b"SEARCH" in said
        # Nothing is read twice, and nothing that is only read is changed.
        for command in (b"FETCH", b"STORE", b"EXPUNGE", b"MOVE", b"COPY", b"SELECT", b"APPEND"):
            assert command not in said
        taken = connector.rows(Acknowledgement, col(Acknowledgement.message_id).in_(ids[0]))
        assert {t.consumer for t in taken} == {"default", "archive"}
