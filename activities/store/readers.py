"""Reads for asynchronous code: on threads of their own, so that no loop waits for a database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlmodel import Session

from activities.store.engine import Database

T = TypeVar("T")

_THREADS = 4


class Readers:
    """A few threads that read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="store-reader")

    async def read(self, query: Callable[[Session], T]) -> T:
        """Run ``query`` on a snapshot and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, query)

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown()

    def _run(self, query: Callable[[Session], T]) -> T:
        with self._database.read() as session:
            return query(session)
