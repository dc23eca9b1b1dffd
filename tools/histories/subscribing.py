"""Cases of ``SubscribeForEmailNotification``."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from temporalio.client import WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy

from models.ids import subscription_workflow_id
from models.names import Query, Signal, TaskQueue, WorkflowType
from models.subscription import SubscriptionStatus
from tools.histories.stage import Run, Stage, callback, case

SUBSCRIBE = WorkflowType.SUBSCRIBE_FOR_EMAIL_NOTIFICATION
_RAW = b"From: a@example.org\r\nTo: b@example.net\r\nSubject: Mail\r\n\r\nx\r\n"


async def _begun(stage: Stage, account: str, **options: Any) -> Run:
    """Start the one run that may listen."""
    with stage.store.database.read() as session:
        found = stage.store.accounts.get(session, account)
    handle = await stage.client.start_workflow(
        SUBSCRIBE,
        {"account": account, **options},
        id=subscription_workflow_id(found.id, found.retrieval.folder),
        task_queue=TaskQueue.ORCHESTRATION,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    await _retrieved(handle, 1)
    return handle


async def _retrieved(handle: Run, number: int) -> None:
    while (await _status(handle)).retrievals < number:  # noqa: ASYNC110 - nothing tells us
        await asyncio.sleep(0.05)


async def _status(handle: Run) -> SubscriptionStatus:
    found: SubscriptionStatus = await handle.query(Query.STATUS, result_type=SubscriptionStatus)
    return found


@case("SubscribeForEmailNotification/noticed_and_stopped")
async def _noticed(stage: Stage) -> Run:
    account, user = stage.account()
    handle = await _begun(stage, account, on_email_fetch=callback("Take"))
    stage.dovecot.deliver(user, _RAW)
    await _retrieved(handle, 2)
    await handle.signal(Signal.STOP)
    await handle.result()
    return handle


@case("SubscribeForEmailNotification/retrieval_failed")
async def _retrieval_failed(stage: Stage) -> Run:
    handle = await _begun(stage, stage.mailbox(1), on_email_fetch=callback("Refuse"))
    await _retrieved(handle, 2)
    await handle.signal(Signal.STOP)
    await handle.result()
    return handle


@case("SubscribeForEmailNotification/cancelled")
async def _cancelled(stage: Stage) -> Run:
    handle = await _begun(stage, stage.mailbox(0))
    await handle.cancel()
    with suppress(WorkflowFailureError):
        await handle.result()
    return handle


@case("SubscribeForEmailNotification/attached")
async def _attached(stage: Stage) -> Run:
    account = stage.mailbox(0)
    await _begun(stage, account)
    return await stage.end(SUBSCRIBE, {"account": account})


@case("SubscribeForEmailNotification/account_gone")
async def _account_gone(stage: Stage) -> Run:
    account = stage.mailbox(0)
    handle = await _begun(stage, account)
    with stage.store.database.write() as session:
        stage.store.accounts.delete(session, account)
    await handle.result()
    return handle


@case("SubscribeForEmailNotification/continued_as_new")
async def _continued(stage: Stage) -> Run:
    account, user = stage.account()
    handle = await _begun(stage, account)
    while (await handle.describe()).run_id == handle.first_execution_run_id:
        stage.dovecot.deliver(user, _RAW)
        await asyncio.sleep(1)
    return stage.client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)


@case("SubscribeForEmailNotification/carried_on")
async def _carried_on(stage: Stage) -> Run:
    first = await _continued(stage)
    latest: Run = stage.client.get_workflow_handle(first.id)
    await latest.signal(Signal.STOP)
    await latest.result()
    return latest


@case("SubscribeForEmailNotification/unknown_account")
async def _unknown_account(stage: Stage) -> Run:
    return await stage.end(SUBSCRIBE, {"account": "nobody"})
