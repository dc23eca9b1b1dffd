"""Cases of ``RetrieveEmailMessages``."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from uuid import uuid4

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy

from models.names import Signal, WorkflowType
from tools.histories.stage import CONSUMER, Run, Stage, answered, callback, case

RETRIEVE = WorkflowType.RETRIEVE_EMAIL_MESSAGES


_PLAIN_RUNS: list[tuple[str, int, dict[str, Any]]] = [
    ("empty", 0, {}),
    ("plain", 3, {"batch_size": 2}),
    ("removed", 3, {"handling": "remove"}),
    (
        "moved_with_callbacks",
        3,
        {
            "handling": "move",
            "move_folder": "Done",
            "batch_size": 2,
            "on_email_fetch": callback("Take"),
            "on_fetch_complete": callback("Take"),
        },
    ),
    (
        "callback_failed",
        2,
        {"on_email_fetch": callback("Refuse"), "on_fetch_error": callback("Take")},
    ),
    (
        "callback_hung",
        2,
        {
            "on_email_fetch": callback("Hang", execution_timeout_seconds=1),
            "on_fetch_error": callback("Refuse"),
        },
    ),
    ("no_such_folder", 0, {"folder": "Nowhere", "on_fetch_error": callback("Take")}),
    ("bad_option", 0, {"handling": "burn"}),
    ("tracked_received", 3, {"batch_size": 2, "on_email_fetch": callback("Take")}),
    ("tracked_failed", 0, {"folder": "Nowhere"}),
    (
        "fetched_ahead",
        5,
        {"batch_size": 1, "handling": "remove", "on_email_fetch": callback("Take")},
    ),
    (
        "fetched_ahead_callback_failed",
        4,
        {"batch_size": 1, "on_email_fetch": callback("Refuse")},
    ),
]

for _name, _mails, _options in _PLAIN_RUNS:

    @case(f"RetrieveEmailMessages/{_name}")
    async def _retrieve(
        stage: Stage, mails: int = _mails, options: dict[str, Any] = _options
    ) -> Run:
        return await stage.end(RETRIEVE, {"account": stage.mailbox(mails), **options})


@case("RetrieveEmailMessages/cancelled")
@case("RetrieveEmailMessages/tracked_cancelled")
async def _cancelled_retrieval(stage: Stage) -> Run:
    request = {"account": stage.mailbox(1), "on_email_fetch": callback("Hang")}
    handle = await stage.start(RETRIEVE, request)
    await answered(handle)
    await handle.cancel()
    with suppress(WorkflowFailureError):
        await handle.result()
    return handle


@case("RetrieveEmailMessages/paused")
async def _paused_retrieval(stage: Stage) -> Run:
    request = {"account": stage.mailbox(3), "batch_size": 1, "on_email_fetch": callback("Take")}
    handle = await stage.start(RETRIEVE, request)
    await handle.signal(Signal.PAUSE)
    await answered(handle)
    await handle.signal(Signal.RESUME)
    await handle.result()
    return handle


@case("RetrieveEmailMessages/continued_as_new")
@case("RetrieveEmailMessages/tracked_continued_as_new")
async def _long_retrieval(stage: Stage) -> Run:
    """The first run and the last of a chain differ; the one recorded is both: it was carried on."""
    request = {"account": stage.mailbox(8), "batch_size": 1, "on_email_fetch": callback("Take")}
    handle = await stage.end(RETRIEVE, request)
    return stage.client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)


@case("RetrieveEmailMessages/carried_on")
@case("RetrieveEmailMessages/tracked_carried_on")
async def _last_run(stage: Stage) -> Run:
    first = await _long_retrieval(stage)
    return stage.client.get_workflow_handle(first.id)


@case("RetrieveEmailMessages/settled_for_another_run")
async def _settled_for_another(stage: Stage) -> Run:
    """The run before was terminated between a callback and its settlement."""
    account = stage.mailbox(2)
    first = await stage.start(
        RETRIEVE, {"account": account, "batch_size": 1, "on_email_fetch": callback("Hang")}
    )
    await answered(first)
    children = [
        event.child_workflow_execution_started_event_attributes.workflow_execution.workflow_id
        for event in (await _with_child(first)).events
        if event.event_type == EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED
    ]
    await first.terminate()
    # The child goes with its parent; one that completes under its id stands for one that had
    # completed the moment before.
    await stage.client.execute_workflow(
        "Take",
        {},
        id=children[0],
        task_queue=CONSUMER,
        id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,
    )
    return await stage.end(RETRIEVE, {"account": account, "batch_size": 1})


async def _with_child(handle: Run) -> Any:
    while True:
        history = await handle.fetch_history()
        if any(
            e.event_type == EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED
            for e in history.events
        ):
            return history
        await asyncio.sleep(0.05)


@case("RetrieveEmailMessages/reset")
async def _reset(stage: Stage) -> Run:
    request = {"account": stage.mailbox(2), "batch_size": 1, "on_email_fetch": callback("Take")}
    first = await stage.end(RETRIEVE, request)
    answer = await stage.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=stage.client.namespace,
            workflow_execution=WorkflowExecution(
                workflow_id=first.id, run_id=first.first_execution_run_id or ""
            ),
            reason="recorded",
            workflow_task_finish_event_id=4,
            request_id=str(uuid4()),
        )
    )
    again = stage.client.get_workflow_handle(first.id, run_id=answer.run_id)
    await again.result()
    return again
