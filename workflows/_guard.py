"""Refuses what cannot be a workflow's input, so that nothing waits for ever on it."""

from __future__ import annotations

from typing import Any, get_type_hints

from temporalio import workflow
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

with workflow.unsafe.imports_passed_through():
    from models.base import Payload
    from models.errors import ErrorType


class InputGuard(Interceptor):
    """Checks the arguments of every workflow before it runs.

    The SDK calls ``run`` with whatever number of arguments arrived; a ``TypeError`` there would be
    retried for ever as a workflow task.
    """

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: ARG002 - the SDK's signature
    ) -> type[WorkflowInboundInterceptor]:
        """The part that runs within the workflow."""
        return _Guard


class _Guard(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        if workflow.info().cron_schedule:
            raise ApplicationError(
                "cron_schedule: a cron's runs are one chain and would be taken for one request; "
                "use a Temporal Schedule, which starts a workflow of its own each time",
                {"field": "cron_schedule"},
                type=ErrorType.INVALID_INPUT.value,
                non_retryable=True,
            )
        expected = [
            t for n, t in get_type_hints(input.run_fn).items() if n not in ("self", "return")
        ]
        if (
            len(expected) == 1
            and isinstance(expected[0], type)
            and issubclass(expected[0], Payload)
        ):
            given = [a for a in input.args if a is not None]
            if not given:
                raise _refused("a JSON object is required; none was given")
            if len(input.args) != 1 or not isinstance(given[0], expected[0]):
                raise _refused("exactly one JSON object is required")
        return await super().execute_workflow(input)


def _refused(reason: str) -> ApplicationError:
    return ApplicationError(
        f"input: {reason}",
        {"field": "input"},
        type=ErrorType.INVALID_INPUT.value,
        non_retryable=True,
    )
