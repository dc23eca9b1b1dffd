"""Cases of callbacks about sent mails, and of the error log."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError

from models.callback import CallbackSpec, SendCallbacks
from models.names import WorkflowType
from models.tables import Message
from tools.histories.stage import CONSUMER, Run, Stage, callback, case, mail
from tools.histories.webhooks import receiver

SEND, NOTIFY = WorkflowType.SEND_EMAIL, WorkflowType.NOTIFY_SEND_OUTCOME
TAKEN = {"on_email_sent": callback("Take"), "on_send_failed": callback("Take")}

for _name, _message, _callbacks in (
    ("told_sent", {}, TAKEN),
    ("told_both", {"to": "to@example.net; nobody@reject.test"}, TAKEN),
    ("told_failed", {"to": "nobody@reject.test"}, TAKEN),
    ("not_listened_to", {}, {"on_email_sent": callback("Refuse")}),
):

    @case(f"SendEmail/{_name}")
    async def _told(
        stage: Stage, message: dict[str, Any] = _message, callbacks: dict[str, Any] = _callbacks
    ) -> Run:
        return await stage.end(SEND, mail(stage.account()[0], **message) | callbacks)


@case("SendEmail/told_by_webhook")
async def _told_by_webhook(stage: Stage) -> Run:
    async with receiver(204) as there:
        return await stage.end(SEND, mail(stage.account()[0]) | {"on_email_sent": there.callback()})


@case("SendEmail/cancelled_while_telling")
async def _cancelled_while_telling(stage: Stage) -> Run:
    handle = await stage.start(SEND, mail(stage.account()[0]) | {"on_email_sent": callback("Hang")})
    while not await _has_child(handle):  # noqa: ASYNC110 - nothing tells us
        await asyncio.sleep(0.05)
    await handle.cancel()
    with suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def _has_child(handle: Run) -> bool:
    kind = EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED
    return any(e.event_type == kind for e in (await handle.fetch_history()).events)


@case("NotifySendOutcome/told")
async def _notified(stage: Stage) -> Run:
    sent = await (await stage.end(SEND, mail(stage.account()[0]))).result()
    take = CallbackSpec(workflow="Take", task_queue=CONSUMER, max_attempts=1)
    packed = stage.store.callbacks.pack(SendCallbacks(on_email_sent=take))
    with stage.store.database.write() as session:
        message = session.get_one(Message, sent["message_id"])
        message.callbacks = packed
        session.add(message)
    return await stage.end(NOTIFY, {"message_id": sent["message_id"]})


@case("NotifySendOutcome/missing")
async def _nothing_to_tell(stage: Stage) -> Run:
    return await stage.end(NOTIFY, {"message_id": "nothing"})


@case("GetSystemError/listed")
async def _errors(stage: Stage) -> Run:
    account, _ = stage.account(password="wrong")  # noqa: S106
    await stage.end(SEND, mail(account))
    return await stage.end(WorkflowType.GET_SYSTEM_ERROR, {"account": account})
