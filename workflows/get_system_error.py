"""Reads the error log."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from models import policies
    from models.names import ActivityName, WorkflowType
    from models.system_error import GetSystemErrorInput, GetSystemErrorResult
    from workflows._steps import answer


@workflow.defn(name=WorkflowType.GET_SYSTEM_ERROR)
class GetSystemErrorWorkflow:
    """The latest errors, of one account or of all, with what to do about each."""

    @workflow.run
    async def run(self, input: GetSystemErrorInput) -> GetSystemErrorResult:
        """Read the errors that ``input`` asks for."""
        return await answer(ActivityName.READ_ERRORS, input, GetSystemErrorResult, policies.READ)
