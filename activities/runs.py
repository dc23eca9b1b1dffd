"""Asks Temporal about the state of workflows."""

from __future__ import annotations

import asyncio

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities.ports import RunState
from models.errors import ConnectorError, ErrorType

_ANSWER_SECONDS = 10


class TemporalRuns:
    """``Runs`` over a Temporal client, for activities that block their own thread.

    Args:
        client: The worker's client.
        loop: The event loop the client belongs to.
    """

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop

    def state(self, workflow_id: str, first_run_id: str | None = None) -> RunState:
        """State of the latest run of a workflow id."""
        question = asyncio.run_coroutine_threadsafe(
            self._describe(workflow_id, first_run_id), self._loop
        )
        return question.result(timeout=_ANSWER_SECONDS * 2)

    async def _describe(self, workflow_id: str, first_run_id: str | None) -> RunState:
        handle = self._client.get_workflow_handle(workflow_id)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                description = await handle.describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return RunState.MISSING
            raise _silent() from None
        except TimeoutError:
            raise _silent() from None
        info = description.raw_description.workflow_execution_info
        if first_run_id is not None and info.first_run_id != first_run_id:
            return RunState.MISSING
        if description.status is WorkflowExecutionStatus.RUNNING:
            return RunState.RUNNING
        if description.status is WorkflowExecutionStatus.COMPLETED:
            return RunState.COMPLETED
        return RunState.ENDED


def _silent() -> ConnectorError:
    return ConnectorError(ErrorType.STORE_UNAVAILABLE, "Temporal did not answer; tried again")
