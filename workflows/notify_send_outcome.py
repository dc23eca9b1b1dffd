"""Tells whom a stored mail names what became of it."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from models import policies
    from models.names import ActivityName, WorkflowType
    from models.outcome import NotifySendOutcomeInput, NotifySendOutcomeResult, StoredOutcome
    from workflows._sending_events import notify
    from workflows._steps import answer


@workflow.defn(name=WorkflowType.NOTIFY_SEND_OUTCOME)
class NotifySendOutcomeWorkflow:
    """Run ``on_email_sent`` and ``on_send_failed`` of a mail that no workflow of its own sends.

    A mail that is not settled calls nobody. The same outcome is told once, whoever asks.
    """

    @workflow.run
    async def run(self, input: NotifySendOutcomeInput) -> NotifySendOutcomeResult:
        """Tell of ``input.message_id``."""
        found = await answer(ActivityName.READ_OUTCOME, input, StoredOutcome, policies.STORE_WORK)
        return NotifySendOutcomeResult(
            message_id=found.message_id,
            status=found.report.status,
            callbacks_failed=await notify(found),
        )
