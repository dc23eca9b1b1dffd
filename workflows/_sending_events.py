"""Tells callers what became of a mail; whether anybody listens changes nothing about the mail."""

from __future__ import annotations

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from models import policies
    from models.advice import ADVICE
    from models.callback import CallbackKind, SendCallbacks
    from models.delivery import DeliveryReport, SendEmailInput, SendPlan
    from models.failure import Failure
    from models.names import ActivityName, Direction
    from models.outcome import (
        CallbackFailureInput,
        EmailSent,
        SendFailed,
        StoredOutcome,
        due,
    )
    from workflows._callback import run_callback
    from workflows._tracking import track


def callbacks_of(input: SendEmailInput) -> SendCallbacks | None:
    """Who is told; None when nobody is."""
    if input.on_email_sent is None and input.on_send_failed is None:
        return None
    return SendCallbacks(on_email_sent=input.on_email_sent, on_send_failed=input.on_send_failed)


async def notify_settled(
    input: SendEmailInput, plan: SendPlan, report: DeliveryReport
) -> list[CallbackKind]:
    """Run the callbacks of a ``SendEmail`` whose mail has been settled, as ``notify`` does."""
    callbacks = callbacks_of(input)
    if callbacks is None or not due(callbacks, report.status):
        return []
    # The mail does not wait for its callbacks: whoever looks sees how it stands.
    track(Direction.OUTGOING, report.status)
    return await notify(
        StoredOutcome(
            message_id=plan.message_id,
            internet_message_id=plan.internet_message_id,
            account_id=plan.account_id,
            report=report,
            callbacks=callbacks,
        )
    )


async def notify(outcome: StoredOutcome) -> list[CallbackKind]:
    """Run what is due for this outcome, one after the other.

    Returns the kinds that nobody acknowledged. A cancellation ends the callbacks and is then
    forgotten: the mail cannot be cancelled any more, and its result must not be lost.
    """
    failed: list[CallbackKind] = []
    if outcome.report.open:
        return failed
    # The same outcome has the same key, whoever tells of it and however often; a mail that an
    # operator has sent again has another outcome.
    key = f"{outcome.message_id}-{outcome.report.attempts}"
    cancelled = False
    for kind, spec in due(outcome.callbacks, outcome.report.status):
        try:
            if not cancelled:
                await run_callback(kind, spec, key, _event(kind, outcome))
                continue
        except BaseException as error:
            cancelled = is_cancelled_exception(error)
            if not cancelled and not isinstance(error, ApplicationError):
                raise
        failed.append(kind)
        await _write_down(kind, outcome)
    return failed


def _event(kind: CallbackKind, outcome: StoredOutcome) -> EmailSent | SendFailed:
    event: type[EmailSent | SendFailed] = (
        EmailSent if kind is CallbackKind.ON_EMAIL_SENT else SendFailed
    )
    return event.of(
        outcome.report,
        message_id=outcome.message_id,
        internet_message_id=outcome.internet_message_id,
        account_id=outcome.account_id,
        error=_in_our_words(outcome.report.error),
    )


def _in_our_words(error: Failure | None) -> Failure | None:
    """The error without what a server said."""
    if error is None:
        return None
    explanation = error.explanation or ADVICE[error.type].meaning
    return error.model_copy(update={"message": explanation, "explanation": None})


async def _write_down(kind: CallbackKind, outcome: StoredOutcome) -> None:
    workflow.logger.warning("%s did not complete", kind.value)
    request = CallbackFailureInput(
        kind=kind, account_id=outcome.account_id, message_id=outcome.message_id
    )
    try:
        await asyncio.shield(
            workflow.execute_activity(
                ActivityName.RECORD_CALLBACK_FAILURE, request, **policies.STORE_WORK
            )
        )
    except ActivityError:
        # The result still says so.
        workflow.logger.warning("%s could not be written down", kind.value)
