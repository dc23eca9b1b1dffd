"""Whether a chain of runs is under way, and how it is ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode


async def is_running(client: Client, workflow_id: str, first_run_id: str) -> bool:
    """Whether the chain that began with ``first_run_id`` has not ended."""
    try:
        description = await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    first = description.raw_description.workflow_execution_info.first_run_id
    return first == first_run_id and description.status is WorkflowExecutionStatus.RUNNING


async def cancel_run(
    client: Client, workflow_id: str, first_run_id: str, patience: timedelta
) -> None:
    """Cancel a chain and wait for its end, unless it is over."""
    if not await is_running(client, workflow_id, first_run_id):
        return
    handle = client.get_workflow_handle(workflow_id, first_execution_run_id=first_run_id)
    try:
        await handle.cancel()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:  # it ended this moment
            raise
    with suppress(WorkflowFailureError, TimeoutError):
        await asyncio.wait_for(handle.result(), patience.total_seconds())
