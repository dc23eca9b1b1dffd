"""The queue's activities."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from sqlmodel import Session
from temporalio import activity

from activities.heartbeat import heartbeats
from activities.store import queue
from activities.store.accounts import Accounts
from activities.store.committer import Committer
from activities.store.readers import Readers
from activities.store.sent_work import sent_folders
from activities.transmitting.drainer import Drainer
from models.delivery import MessageStatus
from models.ids import derived_id
from models.names import ActivityName
from models.queue import DrainInput, DrainResult, QueueCounts
from models.settings import Settings


class QueueActivities:
    """Activities of ``SendQueuedEmails``."""

    def __init__(
        self,
        drainer: Drainer,
        committer: Committer,
        readers: Readers,
        accounts: Accounts,
        settings: Settings,
    ) -> None:
        self._drainer = drainer
        self._committer = committer
        self._readers = readers
        self._accounts = accounts
        self._settings = settings

    @activity.defn(name=ActivityName.DRAIN)
    async def drain_queue(self, request: DrainInput) -> DrainResult:
        """Send what is due for up to ``queue_round_seconds``.

        It may be repeated: what it has leased and not settled is taken over, never sent blindly.
        """
        async with heartbeats():
            account_id = None
            if request.account is not None:
                reference = request.account
                account_id = await self._readers.read(lambda s: self._accounts.get(s, reference).id)
            if request.told:
                await self._committer.commit(lambda s: queue.told(s, request.told))
            async with _time_limit(self._settings.queue_round_seconds) as stopping:
                counts = await self._drainer.drain(
                    _owner(), account_id=account_id, limit=request.limit, stopping=stopping
                )
            due = await self._readers.read(lambda s: self._due(s, account_id))
            untold = await self._readers.read(queue.untold)
            folders = await self._readers.read(lambda s: sent_folders(s, account_id))
        parked = counts.pop("parked", 0)
        counts["deferred"] = counts.pop(MessageStatus.QUEUED, 0)
        return DrainResult(
            counts=QueueCounts.model_validate(dict(counts)),
            due=due,
            parked_accounts=parked,
            untold=untold,
            sent_folders=folders,
        )

    @staticmethod
    def _due(session: Session, account_id: str | None) -> int:
        return queue.count_due(session, datetime.now(UTC), account_id)


@asynccontextmanager
async def _time_limit(seconds: float) -> AsyncIterator[asyncio.Event]:
    """An event that is set after ``seconds``, or when the worker is told to stop."""
    stopping = asyncio.Event()

    async def watch() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(activity.wait_for_worker_shutdown(), seconds)
        stopping.set()

    task = asyncio.create_task(watch())
    try:
        yield stopping
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _owner() -> str:
    """Name of this attempt at the step: one that is repeated does not take itself for the other."""
    info = activity.info()
    return derived_id("drain", info.workflow_run_id or "", info.activity_id, str(info.attempt))
