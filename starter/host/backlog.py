"""Keeps the gauges of the queue up to date, from the database, for as long as a worker runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlmodel import Session

from activities.ports import Metrics
from activities.store.backlog import depth, oldest_due_seconds
from activities.store.readers import Readers
from activities.unwatched import NO_METRICS
from models.delivery import MessageStatus
from models.errors import ConnectorError
from models.metrics import QUEUE_DEPTH, QUEUE_OLDEST

_PAUSE_SECONDS = 10


@asynccontextmanager
async def backlog_watched(readers: Readers, metrics: Metrics) -> AsyncIterator[None]:
    """Look at the queue every ten seconds while the block runs, if anybody reads the gauges."""
    if metrics is NO_METRICS:
        yield
        return
    task = asyncio.create_task(_watch(readers, metrics))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _watch(readers: Readers, metrics: Metrics) -> None:
    while True:
        # A database that is away is told of by /readyz; the gauges keep what was seen last.
        with contextlib.suppress(ConnectorError):
            waiting, oldest = await readers.read(_look)
            for status, count in waiting.items():
                metrics.set(QUEUE_DEPTH, count, status=status.value)
            metrics.set(QUEUE_OLDEST, oldest)
        await asyncio.sleep(_PAUSE_SECONDS)


def _look(session: Session) -> tuple[dict[MessageStatus, int], float]:
    return depth(session), oldest_due_seconds(session)
