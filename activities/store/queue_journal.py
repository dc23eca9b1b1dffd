"""The queue's writes for asynchronous code: on a thread of their own, beside all other commits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from activities.store import queue_ledger
from activities.store.engine import Database
from activities.store.queue_ledger import Intent, Outcome, Recorded


class QueueJournal:
    """A thread that records groups of outcomes and intents."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="queue-journal")

    async def record(self, outcomes: Sequence[Outcome], intents: Sequence[Intent]) -> Recorded:
        """``queue_ledger.record``."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._record, outcomes, intents
        )

    def close(self) -> None:
        """Finish what is being recorded and stop."""
        self._thread.shutdown()

    def _record(self, outcomes: Sequence[Outcome], intents: Sequence[Intent]) -> Recorded:
        return queue_ledger.record(self._database, outcomes, intents)
