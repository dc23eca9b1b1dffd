"""The batches of a run: the next ones are fetched while the callback of one is at work.

fetch      1 2  3  4 …     a few at once, ahead of the callback
callback     1  2  3 …     one at a time, in order
settle          1  2 …     one at a time, beside the next callback
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Generic, TypeVar

from temporalio.exceptions import is_cancelled_exception

AHEAD = 2
"""Batches that are being fetched, or wait for the callback, beyond the one it has."""

T = TypeVar("T")


class FetchAhead(Generic[T]):
    """Takes batches through their three steps.

    A step that fails ends the run: no callback begins any more, and a batch that is acknowledged is
    settled.

    Args:
        fetch: Fetches a batch by number.
        call_back: Hands a fetched batch over; returns when that is acknowledged.
        settle: Handles a batch that is acknowledged.
    """

    def __init__(
        self,
        fetch: Callable[[int], Coroutine[Any, Any, T]],
        call_back: Callable[[T], Coroutine[Any, Any, None]],
        settle: Callable[[T], Coroutine[Any, Any, None]],
    ) -> None:
        self._fetch = fetch
        self._call_back = call_back
        self._settle = settle

    async def run(self, numbers: Iterable[int]) -> None:
        """Take the batches ``numbers`` through; it is asked for each one when its turn comes."""
        left = iter(numbers)
        ahead: deque[asyncio.Task[T]] = deque()
        settling: asyncio.Task[None] | None = None
        try:
            while True:
                self._top_up(ahead, left)
                if not ahead:
                    break
                batch = await ahead[0]
                ahead.popleft()
                self._top_up(ahead, left)
                await self._call_back(batch)
                if settling is not None:
                    await settling
                settling = asyncio.create_task(self._settle(batch))
            if settling is not None:
                await settling
        except BaseException as error:
            if settling is not None and is_cancelled_exception(error):
                settling.cancel()
            raise
        finally:
            for task in ahead:
                task.cancel()
            begun = [*ahead, *([settling] if settling is not None else [])]
            await asyncio.gather(*begun, return_exceptions=True)

    async def one(self, number: int) -> None:
        """Take a single batch through, as runs did that began before there was this module."""
        batch = await self._fetch(number)
        await self._call_back(batch)
        await self._settle(batch)

    def _top_up(self, ahead: deque[asyncio.Task[T]], left: Iterable[int]) -> None:
        for number in left if len(ahead) < AHEAD else ():
            ahead.append(asyncio.create_task(self._fetch(number)))
            if len(ahead) == AHEAD:
                break
