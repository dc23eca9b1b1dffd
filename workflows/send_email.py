"""Sends one mail durably."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from models import policies
    from models.account import UnknownPolicy
    from models.callback import CallbackKind
    from models.delivery import (
        ComposeInput,
        DeliveryReport,
        FileSentCopiesInput,
        FileSentCopiesResult,
        MessageStatus,
        SendEmailInput,
        SendEmailResult,
        SendPlan,
        SentCopy,
        SettleInput,
        TakeOverInput,
        TransmitInput,
        VerifyInput,
        VerifyResult,
        WatchInput,
        WatchResult,
    )
    from models.errors import UNTRIED, ErrorType
    from models.failure import Failure
    from models.ids import chain_of, message_id_for_run
    from models.names import ActivityName, Direction, Query, RunStatus, WorkflowType
    from workflows._sending_events import callbacks_of, notify_settled
    from workflows._steps import answer, step
    from workflows._tracking import failure_tracked, track

_VERIFY_PATCH = "verify-in-sent"
_SENT = (MessageStatus.SENT, MessageStatus.PARTIALLY_SENT)
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
        self._expired = False

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
            if input.queued and plan.report is not None:
                return self._result(plan, plan.report)
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
        if self._driving and self._report.status in _SENT:
            await self._file_sent_copy(plan)
        failed = await notify_settled(input, plan, self._report)
        return self._result(plan, self._report, failed)

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
            callbacks=callbacks_of(input),
            queued=input.queued,
            priority=input.priority,
            send_at=input.send_at,
            expires_at=input.expires_at,
        )
        return await answer(ActivityName.COMPOSE, request, SendPlan, policies.STORE_WORK)

    async def _cancel(self, composing: asyncio.Task[SendPlan]) -> None:
        """The ledger must say "cancelled" although this run is being cancelled."""
        plan = await composing
        if self._driving or plan.driver:
            await self._settle(plan, cancelled=True)

    async def _deliver(self, plan: SendPlan) -> DeliveryReport | None:
        begin = plan.first_attempt_at
        if plan.send_at is not None and plan.send_at > workflow.now():
            begin = plan.send_at
            await workflow.sleep(plan.send_at - workflow.now(), summary="until send_at")
        deadline = begin + timedelta(seconds=plan.give_up_after_seconds)
        if plan.expires_at is not None:
            deadline = min(deadline, plan.expires_at)
            if workflow.now() >= plan.expires_at:
                self._expired = True
                return None
        waits = 0
        while True:
            report = self._report = await self._attempt(plan)
            if report.status is MessageStatus.UNKNOWN:
                report = self._report = await self._verify(plan, report)
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

    async def _verify(self, plan: SendPlan, report: DeliveryReport) -> DeliveryReport:
        """Look an unknown outcome up in the Sent folder, until that has said what it can."""
        if plan.unknown_policy is not UnknownPolicy.VERIFY or not workflow.patched(_VERIFY_PATCH):
            return report
        request = VerifyInput(delivery_id=plan.delivery_id)
        while True:
            try:
                result = await step(ActivityName.VERIFY, request, VerifyResult, policies.VERIFY)
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                # It cannot be known here, which is no reason to fail: it is unknown as before.
                workflow.logger.warning("an unknown outcome could not be verified")
                return report
            seen = result.report.model_copy(update={"error": report.error})
            if result.look_again_seconds is None:
                return seen
            self._report = seen
            pause = timedelta(seconds=result.look_again_seconds)
            await workflow.sleep(pause, summary="until the Sent folder shows the mail")

    async def _file_sent_copy(self, plan: SendPlan) -> None:
        """The mail is sent, whatever becomes of its copy; a cancellation comes too late for both.

        A plan of an older version knows nothing of copies.
        """
        if not plan.sent_copy or self._report is None:
            return
        filing = asyncio.create_task(self._filed(plan.delivery_id))
        try:
            copy = await asyncio.shield(filing)
        except asyncio.CancelledError:
            copy = await filing
        self._report = self._report.model_copy(update={"sent_copy": copy})

    async def _filed(self, delivery_id: str) -> SentCopy | None:
        request = FileSentCopiesInput(delivery_ids=[delivery_id])
        name, kind = ActivityName.FILE_SENT_COPIES, FileSentCopiesResult
        try:
            result = await step(name, request, kind, policies.FILE_COPY)
        except ActivityError:
            request = request.model_copy(update={"give_up": True})
            try:
                result = await step(name, request, kind, policies.STORE_WORK)
            except ActivityError:
                workflow.logger.warning("a copy of a sent mail is neither filed nor given up")
                return SentCopy.PENDING
        return result.copies.get(delivery_id)

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
        if self._expired:
            error = Failure(
                type=ErrorType.EXPIRED, message="it was not sent before expires_at", temporary=False
            )
        request = SettleInput(
            delivery_id=plan.delivery_id, cancelled=cancelled or self._expired, error=error
        )
        return await step(ActivityName.SETTLE, request, DeliveryReport, policies.STORE_WORK)

    @staticmethod
    def _result(
        plan: SendPlan, report: DeliveryReport, callbacks_failed: Sequence[CallbackKind] = ()
    ) -> SendEmailResult:
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
            callbacks_failed=list(callbacks_failed),
            sent_copy=report.sent_copy,
        )
