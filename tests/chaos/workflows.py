"""Workflows run by a client that outlives restarts of Temporal's server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from models.names import TaskQueue

T = TypeVar("T")
_AWAY = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.INTERNAL,
        RPCStatusCode.UNKNOWN,
        RPCStatusCode.RESOURCE_EXHAUSTED,
    }
)
_PAUSE = 0.3

TASK_TIMEOUT = timedelta(seconds=3)
"""Of workflow tasks; a worker that dies or freezes over one costs no more."""


async def run_workflow(
    client: Client, kind: str, request: object, workflow_id: str, result: type[T]
) -> T:
    """Start a workflow, once, and return its result."""

    async def start() -> WorkflowHandle[Any, T]:
        try:
            return await client.start_workflow(
                kind,
                request,
                id=workflow_id,
                task_queue=TaskQueue.ORCHESTRATION,
                result_type=result,
                task_timeout=TASK_TIMEOUT,
            )
        except WorkflowAlreadyStartedError:  # by a call whose answer was lost
            return client.get_workflow_handle(workflow_id, result_type=result)

    handle = await patiently(start)
    return await patiently(handle.result)


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat ``call`` while Temporal's server is away."""
    while True:
        try:
            return await call()
        except RPCError as error:
            if error.status not in _AWAY:
                raise
        await asyncio.sleep(_PAUSE)
