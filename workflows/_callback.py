"""Runs a caller's workflow for an event and waits until it has completed."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RawValue, WorkflowIDReusePolicy
from temporalio.exceptions import (
    ApplicationError,
    ChildWorkflowError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel

    from models import policies, wire
    from models.callback import (
        CallbackKind,
        CallbackSpec,
        CallbackState,
        CallbackStateInput,
        PayloadProtection,
    )
    from models.errors import ErrorType
    from models.ids import callback_workflow_id
    from models.metrics import CALLBACK_DURATION, CALLBACKS
    from models.names import ActivityName
    from workflows._steps import step

_FIRST_PAUSE, _LAST_PAUSE = timedelta(seconds=1), timedelta(minutes=10)


async def run_callback(
    kind: CallbackKind, spec: CallbackSpec, key: str, payload: BaseModel
) -> None:
    """Run ``spec`` with ``payload``; at most one child completes per kind and key.

    Raises:
        ApplicationError: ``CallbackFailed`` when it failed, hung or found no worker.
    """
    argument = wire.plain(payload) if spec.payloads is PayloadProtection.PLAIN else payload
    workflow_id = callback_workflow_id(kind, key)
    pause = _FIRST_PAUSE
    while True:
        try:
            return await _run_child(kind, spec, workflow_id, argument)
        except WorkflowAlreadyStartedError:
            # This run was reset to before the callback. One that completed then counts now; one
            # that is just being ended along with the old run is waited for.
            request = CallbackStateInput(workflow_id=workflow_id)
            state = await step(
                ActivityName.CALLBACK_STATE, request, CallbackState, policies.STORE_WORK
            )
            if state.completed:
                return None
            await workflow.sleep(pause, summary="the earlier callback is ending")
            pause = min(pause * 2, _LAST_PAUSE)


async def _run_child(
    kind: CallbackKind, spec: CallbackSpec, workflow_id: str, argument: BaseModel | RawValue
) -> None:
    started = workflow.time()
    try:
        await workflow.execute_child_workflow(
            spec.workflow,
            argument,
            id=workflow_id,
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
        if is_cancelled_exception(error) and workflow.cancellation_reason() is not None:
            raise  # we are being cancelled, and the child with us
        _count(kind, "failed", started)
        raise ApplicationError(
            f"callback {kind.value} (workflow {spec.workflow} on queue {spec.task_queue}) did not "
            "complete; the mails of this batch stay on the server and come again with the next run",
            {"field": kind.value},
            type=ErrorType.CALLBACK_FAILED.value,
            non_retryable=True,
        ) from error
    _count(kind, "completed", started)


def _count(kind: CallbackKind, outcome: str, started: float) -> None:
    # The workflow's own meter: what is replayed is not counted again.
    meter = workflow.metric_meter().with_additional_attributes(
        {"kind": kind.value, "outcome": outcome}
    )
    meter.create_counter(CALLBACKS.name, CALLBACKS.description).add(1)
    duration = meter.create_histogram_float(CALLBACK_DURATION.name, CALLBACK_DURATION.description)
    duration.record(max(0.0, workflow.time() - started))
