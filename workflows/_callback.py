"""Runs a caller's workflow for an event and waits until it has completed."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, ChildWorkflowError, is_cancelled_exception
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel

    from models import policies, wire
    from models.callback import CallbackKind, CallbackSpec, PayloadProtection
    from models.errors import ErrorType
    from models.ids import callback_workflow_id


async def run_callback(
    kind: CallbackKind, spec: CallbackSpec, key: str, payload: BaseModel
) -> None:
    """Run ``spec`` with ``payload``; at most one child completes per kind and key.

    Raises:
        ApplicationError: ``CallbackFailed`` when it failed, hung or found no worker.
    """
    argument = wire.plain(payload) if spec.payloads is PayloadProtection.PLAIN else payload
    try:
        await workflow.execute_child_workflow(
            spec.workflow,
            argument,
            id=callback_workflow_id(kind, key),
            task_queue=spec.task_queue,
            execution_timeout=timedelta(seconds=spec.execution_timeout_seconds),
            retry_policy=policies.callback_retry(spec.max_attempts, spec.retry_interval_seconds),
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            # A run that is terminated takes its callback along: the next run delivers these mails
            # in a batch of its own, and two callbacks must not work on the same mails at once.
            parent_close_policy=ParentClosePolicy.TERMINATE,
            static_summary=kind.value,
        )
    except ChildWorkflowError as error:
        if is_cancelled_exception(error):
            raise
        raise ApplicationError(
            f"callback {kind.value} (workflow {spec.workflow} on queue {spec.task_queue}) did not "
            "complete; the mails of this batch stay on the server and come again with the next run",
            {"field": kind.value},
            type=ErrorType.CALLBACK_FAILED.value,
            non_retryable=True,
        ) from error
