"""Fifty accounts with a few mails each, while one account has very many."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from temporalio.client import WorkflowFailureError

from benchmarks.delaying_sink import DelayingSink
from benchmarks.our_queue import OurQueue, account, sender_of
from benchmarks.product import Accounts

_SMALL, _MAILS_EACH = 50, 5
_HEAVY, _HEAVY_MAILS = "heavy", 10_000
_NAMES = [f"small{number}" for number in range(_SMALL)]


def accounts(sink: DelayingSink, connections: int) -> Accounts:
    """All accounts that take part."""
    return {
        name: (account(name, sink.host, sink.port, connections), None) for name in (*_NAMES, _HEAVY)
    }


async def times(queue: OurQueue, sink: DelayingSink, *, heavy_first: bool) -> tuple[float, float]:
    """Seconds until the small ones' mails are sent: alone, and beside the heavy one's."""
    queue.pause(_HEAVY)
    both = {}
    for heavy in (True, False) if heavy_first else (False, True):
        both[heavy] = await _time(queue, sink, heavy=heavy)
    return both[False], both[True]


async def _time(queue: OurQueue, sink: DelayingSink, *, heavy: bool) -> float:
    # Only what is missing: the last round has left most of it. It is paused whenever it does not
    # take part.
    queue.fill(_HEAVY, _HEAVY_MAILS - queue.open_mails(_HEAVY))
    if heavy:
        queue.resume(_HEAVY)
    for name in _NAMES:
        queue.fill(name, _MAILS_EACH)
    before = {name: sink.count(sender_of(name)) for name in _NAMES}

    def settled() -> float:
        for name in _NAMES:
            sink.wait_for(before[name] + _MAILS_EACH, 120, sender=sender_of(name))
        return time.perf_counter()

    started = time.perf_counter()
    handle = await queue.start()
    ended = await asyncio.to_thread(settled)
    if heavy:
        queue.pause(_HEAVY)
        await handle.cancel()
    with suppress(WorkflowFailureError):  # cancelled, as it was told to be
        await asyncio.wait_for(handle.result(), 60)
    return ended - started
