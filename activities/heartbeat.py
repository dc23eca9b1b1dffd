"""Heartbeats at a steady pace while an activity works."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncIterator, Iterator

from temporalio import activity
from temporalio.exceptions import CancelledError


@contextlib.asynccontextmanager
async def heartbeats() -> AsyncIterator[None]:
    """Heartbeat three times per heartbeat timeout until the block ends."""
    task = asyncio.create_task(_beat(_interval()))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _beat(seconds: float) -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(seconds)


@contextlib.contextmanager
def blocking_heartbeats() -> Iterator[None]:
    """The same for an activity that blocks its thread in sockets and the store.

    Every blocking call in the block has a time limit of its own, so a heartbeat never keeps a
    hanging activity alive for ever.
    """
    context = contextvars.copy_context()  # the SDK finds the current activity through it
    done = threading.Event()
    seconds = _interval()

    def beat() -> None:
        while not done.wait(seconds):
            activity.heartbeat()

    thread = threading.Thread(target=context.run, args=(beat,), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def stop_if_cancelled() -> None:
    """End a step that blocks its thread when it is cancelled or its worker stops.

    Called between two mails. The SDK could raise anywhere in the thread instead, but a reader of
    mails that never fails would take that for a mail it cannot read.
    """
    if activity.in_activity() and activity.is_cancelled():
        raise CancelledError("cancelled between two mails")


def _interval() -> float:
    timeout = activity.info().heartbeat_timeout
    return timeout.total_seconds() / 3 if timeout else 10.0
