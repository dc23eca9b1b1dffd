"""Cases of the queue."""

from __future__ import annotations

from models.names import WorkflowType
from tools.histories.stage import Run, Stage, case, mail
from tools.servers.process import free_port

SEND, DRAIN = WorkflowType.SEND_EMAIL, WorkflowType.SEND_QUEUED_EMAILS


@case("SendEmail/queued")
async def _queued(stage: Stage) -> Run:
    return await stage.end(SEND, mail(stage.account()[0]) | {"queued": True})


@case("SendQueuedEmails/drained")
async def _drained(stage: Stage) -> Run:
    account, _ = stage.account()
    for _ in range(3):
        await stage.end(SEND, mail(account) | {"queued": True})
    return await stage.end(DRAIN, {"account": account})


@case("SendQueuedEmails/one_by_one")
async def _one_by_one(stage: Stage) -> Run:
    account, _ = stage.account()
    for _ in range(2):
        await stage.end(SEND, mail(account) | {"queued": True})
    return await stage.end(DRAIN, {"account": account, "limit": 1})


@case("SendQueuedEmails/told_and_filed")
async def _told_and_filed(stage: Stage) -> Run:
    account, user = stage.account(sent_copy="always", sent_folder="Sent")
    stage.dovecot.create_folder(user, "Sent")
    callback = {"workflow": "Take", "task_queue": "nobody", "execution_timeout_seconds": 1}
    await stage.end(SEND, mail(account) | {"queued": True, "on_email_sent": callback})
    return await stage.end(DRAIN, {"account": account})


@case("SendQueuedEmails/empty")
async def _empty(stage: Stage) -> Run:
    return await stage.end(DRAIN, {"account": stage.account()[0]})


@case("SendQueuedEmails/unknown_account")
async def _unknown_account(stage: Stage) -> Run:
    return await stage.end(DRAIN, {"account": f"nobody-{free_port()}"})
