"""Drains the queue."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from models import policies
    from models.names import ActivityName, Query, WorkflowType
    from models.queue import (
        DrainInput,
        DrainResult,
        QueueCounts,
        SendQueuedEmailsInput,
        SendQueuedEmailsResult,
    )
    from workflows._steps import answer

_ROUNDS = 500
"""Rounds in one run; then it is continued as new."""


@workflow.defn(name=WorkflowType.SEND_QUEUED_EMAILS)
class SendQueuedEmailsWorkflow:
    """Send what is due, round after round, until nothing is left that may be sent now.

    The queue is in the store: this run carries counts only, and any number of them may run at once.
    """

    def __init__(self) -> None:
        self._counts = QueueCounts()

    @workflow.query(name=Query.PROGRESS)
    def progress(self) -> QueueCounts:
        """What has been sent so far."""
        return self._counts

    @workflow.run
    async def run(self, input: SendQueuedEmailsInput) -> SendQueuedEmailsResult:
        """Drain the queue."""
        self._counts, left = input.counts, input.limit
        for _ in range(_ROUNDS):
            request = DrainInput(account=input.account, limit=left)
            drained = await answer(ActivityName.DRAIN, request, DrainResult, policies.DRAIN)
            self._counts = self._counts.plus(drained.counts)
            if left is not None:
                left -= drained.counts.total
            # A round that sent nothing: what is due is leased to another drain.
            if drained.due == 0 or drained.counts.total == 0 or (left is not None and left <= 0):
                return SendQueuedEmailsResult(
                    counts=self._counts,
                    due=drained.due,
                    parked_accounts=drained.parked_accounts,
                )
            if workflow.info().is_continue_as_new_suggested():
                break
        workflow.continue_as_new(
            SendQueuedEmailsInput(account=input.account, limit=left, counts=self._counts)
        )
