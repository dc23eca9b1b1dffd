"""Workers that start together and are told to stop all at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from temporalio.worker import Worker

_LOOK_SECONDS = 0.02


class Crew:
    """The workers of a process.

    Args:
        workers: Not started yet; each gives its running steps the same grace.
        grace_seconds: That grace.
        cut: Called when it is over: ends what blocks a thread and cannot be cancelled.
        finish: Ends, in the seconds that are left of it, what steps have left under way.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        grace_seconds: float,
        cut: Callable[[], None],
        finish: Callable[[float], Awaitable[None]],
    ) -> None:
        self._workers = workers
        self._grace_seconds = grace_seconds
        self._cut = cut
        self._finish = finish
        self._stopping = False

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run all of them while the block runs; it begins when all of them poll.

        When it ends no worker takes new work; steps that are under way get the grace, then they
        are cancelled. The block ends with the error of a worker that cannot go on.
        """
        async with AsyncExitStack() as stack:
            for worker in self._workers:
                await stack.enter_async_context(worker)
            try:
                # One that cannot begin (no such namespace) cancels this.
                while not all(worker.is_running for worker in self._workers):  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_SECONDS)
                yield
            finally:
                await self._stop()

    async def polls(self) -> bool:
        """Whether all of them take work."""
        return not self._stopping and all(worker.is_running for worker in self._workers)

    async def _stop(self) -> None:
        # All at once: one after the other, the last one would take new work until the others are
        # done, and each would have a grace of its own.
        self._stopping = True
        loop = asyncio.get_running_loop()
        over = loop.call_later(self._grace_seconds, self._cut)
        try:
            await asyncio.gather(*(worker.shutdown() for worker in self._workers))
        finally:
            over.cancel()
            await self._finish(max(0, over.when() - loop.time()))
