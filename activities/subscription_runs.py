"""Starts subscriptions and tells them news (``activities.ports.Subscriptions``)."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from models.errors import ConnectorError, ErrorType
from models.names import Signal, TaskQueue, WorkflowType
from models.subscription import ListenerNews, SubscribeForEmailNotificationInput

TERMS: Final = "terms"
"""Memo of a subscription: a digest of its terms, which tells a second one from the same."""
_ANSWER: Final = timedelta(seconds=10)


class SubscriptionRuns:
    """``activities.ports.Subscriptions`` over a Temporal client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def tell(self, workflow_id: str, first_run_id: str, news: ListenerNews) -> bool:
        """Signal the chain's present run."""
        handle: WorkflowHandle[object, object] = self._client.get_workflow_handle(
            workflow_id, first_execution_run_id=first_run_id
        )
        try:
            await handle.signal(Signal.NOTICED, news, rpc_timeout=_ANSWER)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise _silent() from None
        return True

    async def start(
        self, workflow_id: str, request: SubscribeForEmailNotificationInput, terms: str
    ) -> None:
        """Start it, or find that it runs."""
        try:
            handle = await self._client.start_workflow(
                WorkflowType.SUBSCRIBE_FOR_EMAIL_NOTIFICATION.value,
                request,
                id=workflow_id,
                task_queue=TaskQueue.ORCHESTRATION,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                memo={TERMS: terms},
                rpc_timeout=_ANSWER,
            )
            there = await (await handle.describe(rpc_timeout=_ANSWER)).memo()
        except RPCError:
            raise _silent() from None
        if there.get(TERMS, terms) != terms:
            raise ConnectorError(
                ErrorType.STATE_CONFLICT,
                f"{workflow_id} listens to this folder on other terms; stop it first, or leave "
                "its terms as they are",
                field="account",
            )


def _silent() -> ConnectorError:
    return ConnectorError(ErrorType.STORE_UNAVAILABLE, "Temporal did not answer; tried again")
