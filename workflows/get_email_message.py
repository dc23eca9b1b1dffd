"""Reads a stored mail."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from models import policies
    from models.message import GetEmailMessageInput, GetEmailMessageResult
    from models.names import ActivityName, WorkflowType
    from workflows._steps import answer


@workflow.defn(name=WorkflowType.GET_EMAIL_MESSAGE)
class GetEmailMessageWorkflow:
    """The envelope of a stored mail, with links to its content."""

    @workflow.run
    async def run(self, input: GetEmailMessageInput) -> GetEmailMessageResult:
        """Read ``input.message_id``."""
        return await answer(ActivityName.READ_MESSAGE, input, GetEmailMessageResult, policies.READ)
