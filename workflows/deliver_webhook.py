"""Posts an event to a URL until the receiver takes it over."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from models import policies
    from models.errors import TEMPORARY, ErrorType, known_type
    from models.failure import Failure
    from models.ids import chain_of, derived_id
    from models.names import ActivityName, WorkflowType
    from models.webhook import (
        CloseWebhookInput,
        DeliverWebhookInput,
        DeliverWebhookResult,
        OpenWebhookInput,
        WebhookAttemptInput,
        WebhookAttemptResult,
        WebhookClosed,
        WebhookPlan,
        WebhookState,
    )
    from workflows._steps import answer, step


@workflow.defn(name=WorkflowType.DELIVER_WEBHOOK)
class DeliverWebhookWorkflow:
    """Store the event; then post the same bytes under the same id until somebody answers 2xx.

    It completes when the receiver has acknowledged, and fails when the event is a dead letter.
    """

    @workflow.run
    async def run(self, input: DeliverWebhookInput) -> DeliverWebhookResult:
        """Deliver the event."""
        info = workflow.info()
        driver = chain_of(info.workflow_id, info.first_execution_run_id)
        began = workflow.now()
        webhook_id = input.redeliver or derived_id("webhook", input.idempotency_key or driver)
        request = OpenWebhookInput(
            webhook_id=webhook_id, driver=driver, created_at=began, request=input
        )
        plan = await answer(ActivityName.OPEN_WEBHOOK, request, WebhookPlan, policies.STORE_WORK)
        if plan.delivered:
            return DeliverWebhookResult(webhook_id=webhook_id, status_code=None, attempts=0)
        try:
            return await self._deliver(input, plan, driver, began)
        except BaseException as error:
            if is_cancelled_exception(error):
                await asyncio.shield(self._close(plan, driver, WebhookState.CANCELLED, None))
            raise

    async def _deliver(
        self, input: DeliverWebhookInput, plan: WebhookPlan, driver: str, began: datetime
    ) -> DeliverWebhookResult:
        deadline = began + timedelta(seconds=input.give_up_after_seconds)
        attempts = 0
        while True:
            attempts += 1
            outcome = await self._attempt(plan, driver)
            error = outcome.error
            if error is None:
                break
            delay = policies.next_send_delay(
                attempts,
                policies.doubling(input.retry_interval_seconds),
                jitter=plan.retry_jitter,
                cap=plan.max_retry_delay_seconds,
                hint=error.retry_after_seconds,
                rng=workflow.random(),
            )
            if (
                not error.temporary
                or attempts >= input.max_attempts
                or workflow.now() + delay > deadline
            ):
                state = await self._close(plan, driver, WebhookState.DEAD, error)
                if state is WebhookState.DELIVERED:  # a late reply
                    break
                raise _given_up(plan, attempts, error)
            await workflow.sleep(delay, summary="until the next attempt")
        return DeliverWebhookResult(
            webhook_id=plan.webhook_id, status_code=outcome.status_code, attempts=attempts
        )

    async def _attempt(self, plan: WebhookPlan, driver: str) -> WebhookAttemptResult:
        request = WebhookAttemptInput(webhook_id=plan.webhook_id, driver=driver)
        options = policies.post(plan.heartbeat_timeout_seconds, plan.attempt_seconds)
        try:
            return await step(ActivityName.ATTEMPT_WEBHOOK, request, WebhookAttemptResult, options)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return WebhookAttemptResult(error=_lost(error))

    async def _close(
        self, plan: WebhookPlan, driver: str, state: WebhookState, error: Failure | None
    ) -> WebhookState:
        request = CloseWebhookInput(
            webhook_id=plan.webhook_id, driver=driver, state=state, error=error
        )
        closed = await step(ActivityName.CLOSE_WEBHOOK, request, WebhookClosed, policies.STORE_WORK)
        return closed.state


def _lost(error: ActivityError) -> Failure:
    """What is known of an attempt whose worker went away; the receiver may have got it."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and (kind := known_type(cause.type)):
        passing = kind in TEMPORARY or kind is ErrorType.INTERNAL
        return Failure(type=kind, message=cause.message, temporary=passing)
    return Failure(
        type=ErrorType.CONNECTION_LOST,
        message="the worker went away during the request",
        temporary=True,
    )


def _given_up(plan: WebhookPlan, attempts: int, error: Failure) -> ApplicationError:
    details = [{"field": error.field}] if error.field else []
    return ApplicationError(
        f"given up after {attempts} attempts: {error.message}; deliver it again with "
        f"'python -m starter webhook redeliver {plan.webhook_id}'",
        *details,
        type=error.type.value,
        non_retryable=True,
    )
