"""Tells a caller about an event, by its workflow or by a webhook, until it is acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NoReturn

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
        Callback,
        CallbackKind,
        CallbackSpec,
        CallbackState,
        CallbackStateInput,
        PayloadProtection,
        WebhookSpec,
    )
    from models.errors import ErrorType
    from models.ids import callback_workflow_id
    from models.metrics import CALLBACK_DURATION, CALLBACKS
    from models.names import ActivityName, TaskQueue, WorkflowType
    from models.webhook import DeliverWebhookInput
    from workflows._steps import step

_FIRST_PAUSE, _LAST_PAUSE = timedelta(seconds=1), timedelta(minutes=10)
_CLOSING = timedelta(hours=1)
"""What a webhook's workflow may take beyond its own policy, to write down how it ended."""


async def run_callback(kind: CallbackKind, spec: Callback, key: str, payload: BaseModel) -> None:
    """Run ``spec`` with ``payload``; at most one child completes per kind and key.

    Raises:
        ApplicationError: ``CallbackFailed`` when it failed, hung or found no worker; when a
            webhook's event became a dead letter.
    """
    workflow_id = callback_workflow_id(kind, key)
    pause = _FIRST_PAUSE
    while True:
        try:
            with _counted(kind):
                if isinstance(spec, WebhookSpec):
                    return await _deliver(kind, spec, workflow_id, key, payload)
                return await _run_child(kind, spec, workflow_id, payload)
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
    kind: CallbackKind, spec: CallbackSpec, workflow_id: str, payload: BaseModel
) -> None:
    plain = spec.payloads is PayloadProtection.PLAIN
    argument: BaseModel | RawValue = wire.plain(payload) if plain else payload
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
        _raise_unless_cancelled(
            error, kind, f"workflow {spec.workflow} on queue {spec.task_queue}", "complete"
        )


async def _deliver(
    kind: CallbackKind, spec: WebhookSpec, workflow_id: str, key: str, payload: BaseModel
) -> None:
    # A batch is named, not carried: the store has its envelopes, and no second history need.
    batch = key if kind is CallbackKind.ON_EMAIL_FETCH else None
    request = DeliverWebhookInput(
        **dict(spec),
        type=kind.value,
        batch_id=batch,
        data=None if batch else payload.model_dump(mode="json"),
        idempotency_key=workflow_id,
    )
    try:
        await workflow.execute_child_workflow(
            WorkflowType.DELIVER_WEBHOOK,
            request,
            id=workflow_id,
            task_queue=TaskQueue.ORCHESTRATION,
            execution_timeout=timedelta(seconds=spec.give_up_after_seconds) + _CLOSING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            parent_close_policy=ParentClosePolicy.TERMINATE,  # as in _run_child
            static_summary=kind.value,
        )
    except ChildWorkflowError as error:
        _raise_unless_cancelled(error, kind, "webhook", "acknowledge")


def _raise_unless_cancelled(
    error: ChildWorkflowError, kind: CallbackKind, who: str, what: str
) -> NoReturn:
    if is_cancelled_exception(error) and workflow.cancellation_reason() is not None:
        raise error  # we are being cancelled, and the child with us
    raise ApplicationError(
        f"callback {kind.value} ({who}) did not {what}; the mails of this batch stay on the server "
        "and come again with the next run",
        {"field": kind.value},
        type=ErrorType.CALLBACK_FAILED.value,
        non_retryable=True,
    ) from error


@contextmanager
def _counted(kind: CallbackKind) -> Iterator[None]:
    """Measure a callback that completes or fails; not one that is cancelled along with us."""
    started = workflow.time()
    try:
        yield
    except ApplicationError:
        _count(kind, "failed", workflow.time() - started)
        raise
    _count(kind, "completed", workflow.time() - started)


def _count(kind: CallbackKind, outcome: str, seconds: float) -> None:
    # The workflow's own meter: what is replayed is not counted again.
    meter = workflow.metric_meter().with_additional_attributes(
        {"kind": kind.value, "outcome": outcome}
    )
    meter.create_counter(CALLBACKS.name, CALLBACKS.description).add(1)
    duration = meter.create_histogram_float(CALLBACK_DURATION.name, CALLBACK_DURATION.description)
    duration.record(max(0.0, seconds))
