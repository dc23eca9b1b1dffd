"""Drains the queue."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from temporalio import workflow
from temporalio.exceptions import ActivityError, WorkflowAlreadyStartedError, is_cancelled_exception
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from models import policies
    from models.ids import notify_workflow_id
    from models.names import ActivityName, Query, TaskQueue, WorkflowType
    from models.outcome import NotifySendOutcomeInput
    from models.queue import (
        DrainInput,
        DrainResult,
        QueueCounts,
        SendQueuedEmailsInput,
        SendQueuedEmailsResult,
        TendSentFolderInput,
    )
    from workflows._steps import answer

_FOLDERS_AT_ONCE = 10
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
        self._counts, left, told = input.counts, input.limit, list[str]()
        for _ in range(_ROUNDS):
            request = DrainInput(account=input.account, limit=left, told=told)
            drained = await answer(ActivityName.DRAIN, request, DrainResult, policies.DRAIN)
            told = await self._tell(drained.untold)
            self._counts = self._counts.plus(drained.counts)
            if left is not None:
                left = max(0, left - drained.counts.total)
            # A round that sent nothing: what is due is leased to another drain.
            over = drained.due == 0 or drained.counts.total == 0 or left == 0
            if over and not told:
                await self._tend(drained.sent_folders)
                return SendQueuedEmailsResult(
                    counts=self._counts,
                    due=drained.due,
                    parked_accounts=drained.parked_accounts,
                )
            if workflow.info().is_continue_as_new_suggested() and left != 0:
                break
        workflow.continue_as_new(
            SendQueuedEmailsInput(account=input.account, limit=left, counts=self._counts)
        )

    @staticmethod
    async def _tell(message_ids: list[str]) -> list[str]:
        """Start what tells the callers of these mails; it outlives this run."""
        for message_id in message_ids:
            with suppress(WorkflowAlreadyStartedError):  # a round that was lost has started it
                await workflow.start_child_workflow(
                    WorkflowType.NOTIFY_SEND_OUTCOME,
                    NotifySendOutcomeInput(message_id=message_id),
                    id=notify_workflow_id(message_id),
                    task_queue=TaskQueue.ORCHESTRATION,
                    parent_close_policy=ParentClosePolicy.ABANDON,
                    static_summary="tell what became of a mail",
                )
        return message_ids

    @staticmethod
    async def _tend(account_ids: list[str]) -> None:
        """See to the Sent folders; one that cannot be seen to now waits for the next drain."""
        gate = asyncio.Semaphore(_FOLDERS_AT_ONCE)

        async def tend(account_id: str) -> None:
            async with gate:
                try:
                    await workflow.execute_activity(
                        ActivityName.TEND_SENT_FOLDER,
                        TendSentFolderInput(account_id=account_id),
                        **policies.TEND,
                    )
                except ActivityError as error:
                    if is_cancelled_exception(error):
                        raise
                    workflow.logger.warning("a Sent folder could not be seen to")

        await asyncio.gather(*(tend(account_id) for account_id in account_ids))
