"""Batches are fetched ahead of their callbacks: how far, and what that must not change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from models.errors import ConnectorError, ErrorType
from models.ids import callback_workflow_id
from models.names import Query, TaskQueue, WorkflowType
from models.tables import CallbackDelivery
from starter.commands import Commands
from tests.e2e.harness import Connector, execute, fresh, refusal
from tests.e2e.mails import delivered, mail
from tests.e2e.test_callbacks import consumer_process, spec
from tools.servers.dovecot import Dovecot
from workflows._fetch_ahead import AHEAD

RETRIEVE = WorkflowType.RETRIEVE_EMAIL_MESSAGES
MAILS = 6


@pytest.fixture(scope="module")
def queue(common_connector: Connector) -> Iterator[str]:
    name = fresh("consumer-")
    with consumer_process(common_connector, name):
        yield name


@pytest.fixture
def mails(dovecot: Dovecot, user: str) -> list[bytes]:
    raws = [mail(f"Mail {number}") for number in range(1, MAILS + 1)]
    for raw in raws:
        dovecot.deliver(user, raw)
    return raws


def one_by_one(account: str, **options: Any) -> dict[str, Any]:
    return {"account": account, "replicate_everything": True, "batch_size": 1, **options}


async def begin(client: Client, request: dict[str, Any]) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(
        RETRIEVE, request, id=fresh("test/"), task_queue=TaskQueue.ORCHESTRATION
    )


async def stored(connector: Connector, handle: WorkflowHandle[Any, Any], count: int) -> list[str]:
    """Wait until a run has stored so many batches; their ids in order."""
    async with asyncio.timeout(20):
        while True:
            progress = await handle.query(Query.PROGRESS)
            if progress is not None:
                of_run = CallbackDelivery.retrieval_id == progress["retrieval_id"]
                rows = connector.rows(CallbackDelivery, of_run)
                if len(rows) >= count:
                    return [row.id for row in sorted(rows, key=lambda row: row.number)]
            await asyncio.sleep(0.05)


async def has_begun(client: Client, batch_id: str) -> bool:
    child = client.get_workflow_handle(callback_workflow_id("on_email_fetch", batch_id))
    try:
        await child.describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def test_a_few_batches_are_fetched_while_a_callback_is_at_work(
    connector: Connector, client: Client, account: str, queue: str, mails: Sequence[bytes]
) -> None:
    request = one_by_one(account, on_email_fetch=spec("Hang", queue))
    handle = await begin(client, request)
    await stored(connector, handle, 1 + AHEAD)
    await asyncio.sleep(0.5)  # nothing tells that there will be no further one
    ids = await stored(connector, handle, 1 + AHEAD)
    assert len(ids) == 1 + AHEAD
    assert [await has_begun(client, batch_id) for batch_id in ids] == [True, False, False]
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    # What had been fetched and was told to nobody comes again, from the store.
    result = await execute(
        client, RETRIEVE, one_by_one(account, on_email_fetch=spec("Take", queue))
    )
    assert (result["retrieved"], result["known"]) == (MAILS, 0)


async def test_the_same_mail_in_two_batches_is_told_once(
    client: Client, account: str, queue: str, dovecot: Dovecot, user: str
) -> None:
    raw = mail("Twice")
    for _ in range(3):
        dovecot.deliver(user, raw)
    result = await execute(
        client, RETRIEVE, one_by_one(account, on_email_fetch=spec("Take", queue))
    )
    assert (result["retrieved"], result["known"], result["batches"]) == (1, 2, 3)


async def test_a_callback_that_fails_leaves_the_batch_before_it_settled(
    client: Client, account: str, queue: str, mails: Sequence[bytes], dovecot: Dovecot, user: str
) -> None:
    refusing = spec("RefuseSecondBatch", queue)
    request = one_by_one(account, handling="remove", on_email_fetch=refusing)
    found = await refusal(client, RETRIEVE, request)
    assert (found.type, found.field) == ("CallbackFailed", "on_email_fetch")
    kept = delivered(dovecot, user, number=MAILS - 1)
    assert not any(b"Subject: Mail 1\r\n" in raw for raw in kept)


async def test_a_paused_run_completes_what_it_has_begun_and_waits(
    connector: Connector, client: Client, account: str, queue: str, mails: Sequence[bytes]
) -> None:
    commands = Commands(client)
    handle = await begin(client, one_by_one(account, on_email_fetch=spec("HoldFirstBatch", queue)))
    first, second, *_ = await stored(connector, handle, 1 + AHEAD)
    async with asyncio.timeout(20):
        while not await has_begun(client, first):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await commands.pause_retrieval(handle.id, paused=True)
    held = client.get_workflow_handle(callback_workflow_id("on_email_fetch", first))
    await held.signal("release")
    async with asyncio.timeout(20):
        while (await handle.query(Query.PROGRESS))["retrieved"] < 1:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)  # nothing tells that no callback begins
    progress = await handle.query(Query.PROGRESS)
    assert (progress["paused"], progress["retrieved"]) == (True, 1)
    assert not await has_begun(client, second)

    await commands.pause_retrieval(handle.id, paused=False)
    assert (await handle.result())["retrieved"] == MAILS
    with pytest.raises(ConnectorError) as caught:
        await commands.pause_retrieval(handle.id, paused=True)
    assert (caught.value.type, caught.value.field) == (ErrorType.INVALID_INPUT, "workflow_id")
