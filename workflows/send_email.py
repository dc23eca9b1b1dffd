"""Sends one mail durably."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from models import policies
    from models.account import UnknownPolicy
    from models.delivery import (
        ComposeInput,
        DeliveryReport,
        MessageStatus,
        SendEmailInput,
        SendEmailResult,
        SendPlan,
        SettleInput,
        TakeOverInput,
        TransmitInput,
        WatchInput,
        WatchResult,
    )
    from models.errors import UNTRIED, ErrorType
    from models.ids import chain_of, message_id_for_run
    from models.names import ActivityName, Direction, Query, RunStatus, WorkflowType
    from workflows._steps import answer, step
    from workflows._tracking import failure_tracked, track

_FIRST_LOOK, _LAST_LOOK = timedelta(seconds=10), timedelta(minutes=10)


@workflow.defn(name=WorkflowType.SEND_EMAIL)
class SendEmailWorkflow:
    """Compose once, transmit until every recipient is settled, report per recipient.

    It fails only when no server ever judged the mail (bad input, wrong password, …); a refusal by
    the server is a result.
    """

    def __init__(self) -> None:
        self._report: DeliveryReport | None = None
        self._driving = False
        self._epoch: int | None = None

    @workflow.query(name=Query.PROGRESS)
    def progress(self) -> DeliveryReport | None:
        """What the last attempt left behind; None before the first has ended."""
        return self._report

    @workflow.run
    async def run(self, input: SendEmailInput) -> SendEmailResult:
        """Send ``input.message``."""
        with failure_tracked(Direction.OUTGOING):
            result = await self._send(input)
        track(Direction.OUTGOING, result.status)
        return result

    async def _send(self, input: SendEmailInput) -> SendEmailResult:
        composing = asyncio.create_task(self._compose(input))
        try:
            # Shielded: a mail that is composed is in the ledger, and has to be closed there.
            plan = await asyncio.shield(composing)
            track(Direction.OUTGOING, RunStatus.SENDING, plan.account_id)
            self._epoch = plan.epoch
            self._driving = plan.driver or await self._watch(plan)
            if self._driving:
                self._report = await self._deliver(plan)
        except BaseException as error:
            if not is_cancelled_exception(error):
                raise
            await asyncio.shield(self._cancel(composing))
            raise
        if self._report is None or self._report.open:
            self._report = await self._settle(plan)
        return self._result(plan, self._report)

    async def _compose(self, input: SendEmailInput) -> SendPlan:
        info = workflow.info()
        request = ComposeInput(
            message_id=message_id_for_run(info.workflow_id, info.first_execution_run_id),
            driver=chain_of(info.workflow_id, info.first_execution_run_id),
            date=info.workflow_start_time,
            account=input.account,
            message=input.message,
            idempotency_key=input.idempotency_key,
            unknown_policy=input.unknown_policy,
        )
        return await answer(ActivityName.COMPOSE, request, SendPlan, policies.STORE_WORK)

    async def _cancel(self, composing: asyncio.Task[SendPlan]) -> None:
        """The ledger must say "cancelled" although this run is being cancelled."""
        plan = await composing
        if self._driving or plan.driver:
            await self._settle(plan, cancelled=True)

    async def _deliver(self, plan: SendPlan) -> DeliveryReport:
        deadline = plan.first_attempt_at + timedelta(seconds=plan.give_up_after_seconds)
        waits = 0
        while True:
            report = self._report = await self._attempt(plan)
            if not report.open or (report.error and not report.error.temporary):
                return report
            untried = report.error is not None and report.error.type in UNTRIED
            waits = waits + 1 if untried else 0
            if (
                plan.max_attempts is not None
                and report.attempts >= plan.max_attempts
                and not untried
            ):
                return report
            delay = policies.next_send_delay(
                waits or max(report.attempts, 1),
                policies.WAITS_SECONDS if untried else plan.retry_delays_seconds,
                jitter=plan.retry_jitter,
                cap=plan.max_retry_delay_seconds,
                hint=report.retry_after_seconds,
                rng=workflow.random(),
            )
            if workflow.now() + delay > deadline:
                return report
            await workflow.sleep(delay, summary="until the next attempt")

    async def _attempt(self, plan: SendPlan) -> DeliveryReport:
        request = TransmitInput(
            delivery_id=plan.delivery_id,
            owner=workflow.info().workflow_id,
            epoch=self._epoch,
        )
        options = policies.transmit(plan.heartbeat_timeout_seconds, plan.transmit_timeout_seconds)
        resend = plan.unknown_policy is UnknownPolicy.AT_LEAST_ONCE
        try:
            report = await step(ActivityName.TRANSMIT, request, DeliveryReport, options)
            self._epoch = report.epoch
            lost = bool(report.error and report.error.type is ErrorType.LEASE_LOST)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            lost = True
        if lost:
            # The worker is gone or stuck, or one that was has come back and is in the way. Only
            # the ledger knows how far it got.
            return await self._take_over(plan, resend_unknown=resend)
        if report.status is MessageStatus.UNKNOWN and resend:
            report = await self._take_over(plan, resend_unknown=True)
        return report

    async def _take_over(self, plan: SendPlan, *, resend_unknown: bool) -> DeliveryReport:
        request = TakeOverInput(
            delivery_id=plan.delivery_id,
            owner=workflow.info().workflow_id,
            resend_unknown=resend_unknown,
            epoch=self._epoch,
        )
        report = await step(ActivityName.TAKE_OVER, request, DeliveryReport, policies.STORE_WORK)
        self._epoch = report.epoch
        return report

    async def _watch(self, plan: SendPlan) -> bool:
        """Another workflow sends the mail with this idempotency key.

        Returns False when the mail is done, True when that workflow is over and the mail is ours.
        """
        info = workflow.info()
        request = WatchInput(
            message_id=plan.message_id,
            delivery_id=plan.delivery_id,
            driver=chain_of(info.workflow_id, info.first_execution_run_id),
        )
        pause = _FIRST_LOOK
        while True:
            seen = await step(ActivityName.WATCH, request, WatchResult, policies.STORE_WORK)
            self._report = seen.report
            self._epoch = seen.report.epoch
            if seen.driver or not seen.report.open:
                return seen.driver
            await workflow.sleep(pause, summary="another workflow sends this mail")
            pause = min(pause * 1.5, _LAST_LOOK)

    async def _settle(self, plan: SendPlan, *, cancelled: bool = False) -> DeliveryReport:
        error = self._report.error if self._report else None
        request = SettleInput(delivery_id=plan.delivery_id, cancelled=cancelled, error=error)
        return await step(ActivityName.SETTLE, request, DeliveryReport, policies.STORE_WORK)

    @staticmethod
    def _result(plan: SendPlan, report: DeliveryReport) -> SendEmailResult:
        judged = any(r.code is not None for r in report.recipients)
        if report.status is MessageStatus.FAILED and report.error and not judged:
            details = [{"field": report.error.field}] if report.error.field else []
            raise ApplicationError(
                report.error.message, *details, type=report.error.type.value, non_retryable=True
            )
        return SendEmailResult(
            message_id=plan.message_id,
            internet_message_id=plan.internet_message_id,
            status=report.status,
            recipients=report.recipients,
            attempts=report.attempts,
            sent_at=report.sent_at,
            error=report.error,
        )
