"""Workflows reset, terminated and started twice by those who operate Temporal."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from models.account import UnknownPolicy
from models.delivery import MessageStatus
from models.errors import ErrorType
from tests.chaos.harness import Blow, World, until
from tests.chaos.judging import accepted_copies
from tests.chaos.judging import judge as judge_sending
from tests.chaos.retrieving import Mailbox, empty, judge, mailboxes, start
from tests.chaos.sending import Sending

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


async def reset(client: Client, workflow_id: str) -> WorkflowHandle[Any, Any]:
    """Reset a workflow to its first task."""
    first = 0
    async for event in client.get_workflow_handle(workflow_id).fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            first = event.event_id
            break
    answer = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            reason="chaos",
            workflow_task_finish_event_id=first,
            request_id=str(uuid4()),
        )
    )
    return client.get_workflow_handle(workflow_id, run_id=answer.run_id)


@pytest.mark.parametrize("point", [None, "smtp.reply"])
async def test_a_mail_is_not_sent_again_by_a_reset(world: World, point: str | None):
    client = await world.client()
    load = Sending(world, client)
    async with world.resurrection():
        if point is not None:
            blow = asyncio.create_task(world.strike(Blow(point), seconds=30))
            await asyncio.sleep(0.1)
        mail = load.submit(1, UnknownPolicy.AT_MOST_ONCE)
        if point is not None:
            await blow
        await load.drained()
        again = await (await reset(client, load.workflow_id(1))).result()
    status = MessageStatus.SENT if point is None else MessageStatus.UNKNOWN
    assert mail.results[0].status is status
    assert again["status"] == status
    assert again["attempts"] == 1
    assert judge_sending(world, load.mails).wrong() == {}
    assert accepted_copies(world, mail.recipients[0]) == 1


async def test_a_new_run_goes_on_where_a_terminated_one_ended(world: World):
    client = await world.client()
    async with mailboxes(world, 1, 60) as (box,), world.resurrection():
        box.interrupted = True
        for moves in (1, 3, 5):
            handle = await start(client, box.request(number=60, batch=5))
            await until(partial(box.has_moved, moves))
            await handle.terminate()
        await empty(client, box, per_run=60, batch=5)
        figures = await judge(world, client, [box])
    assert figures.wrong() == {}, figures.findings


async def test_a_reset_retrieval_changes_nothing(world: World):
    client = await world.client()
    async with mailboxes(world, 1, 12) as (box,), world.resurrection():
        handle = await start(client, box.request(number=12, batch=4))
        box.results.append(await handle.result())
        before = len(box.watch.changes())
        again = await (await reset(client, handle.id)).result()
        assert again == box.results[0].model_dump(mode="json")
        assert box.watch.changes()[before:] == []
        figures = await judge(world, client, [box])
    assert figures.wrong() == {}, figures.findings


async def refusal(client: Client, box: Mailbox) -> ApplicationError:
    handle = await start(client, box.request(number=12, batch=4))
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


async def test_a_second_retrieval_of_a_folder_waits_or_is_refused(world: World):
    client = await world.client()
    async with mailboxes(world, 1, 12) as (box,), world.resurrection():
        box.interrupted = True
        holder = await start(client, box.request(number=12, batch=4, callback_queue="nobody"))
        await until(lambda: box.holds_lease(holder.id))
        refused = await refusal(client, box)
        assert refused.type == ErrorType.MAILBOX_BUSY
        assert holder.id in str(refused)
        waiting = await start(client, box.request(number=12, batch=4))
        await asyncio.sleep(2)
        await holder.terminate()
        box.results.append(await waiting.result())
        assert box.results[0].retrieved == len(box.sources)
        figures = await judge(world, client, [box])
    assert figures.wrong() == {}, figures.findings
