"""Transactions beside those of mails, for asynchronous code: on one thread of their own.

Workers may wait for each other's rows here; no outcome of a mail shall wait with them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

from sqlmodel import Session

from activities.store.engine import Database

T = TypeVar("T")


class Aside:
    """A thread that reads and writes; left, it finishes what was begun."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-aside")
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.settled()
        self._thread.shutdown()

    async def read(self, query: Callable[[Session], T]) -> T:
        """Run ``query`` on a snapshot."""

        def run() -> T:
            with self._database.read() as session:
                return query(session)

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    async def write(self, change: Callable[[Session], T]) -> T:
        """Run ``change`` in a transaction; its result comes after the commit."""

        def run() -> T:
            with self._database.write() as session:
                return change(session)

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    def later(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do ``work`` whatever becomes of who asks for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def settled(self) -> None:
        """Wait until all work is done."""
        while self._tasks:
            await asyncio.wait(self._tasks)
