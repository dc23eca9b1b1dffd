"""Answers workflow types that do not exist."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from models.errors import ErrorType
    from models.names import WorkflowType


@workflow.defn(dynamic=True)
class UnknownTypeWorkflow:
    """Fails at once: without it a misspelt type would wait for a worker that never comes."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> None:  # noqa: ARG002 - the SDK's signature
        """Say which types there are."""
        known = ", ".join(sorted(WorkflowType))
        raise ApplicationError(
            f"workflow_type: there is no such type; known are {known}",
            {"field": "workflow_type"},
            type=ErrorType.UNKNOWN_WORKFLOW_TYPE.value,
            non_retryable=True,
        )
