"""Tells listeners that their account was changed, whoever changed it: the database is looked at."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from activities.store import account_versions
from activities.store.readers import Readers
from models.errors import ConnectorError


@dataclass(eq=False)
class Seen:
    """What a listener knows of its account.

    Attributes:
        version: When the account that it works with was changed last.
        outdated: Set while the stored one is another.
    """

    version: datetime | None = None
    outdated: asyncio.Event = field(default_factory=asyncio.Event)


class AccountChanges:
    """Looks at all accounts every few seconds while it is entered and anybody wants to know.

    Args:
        readers: Reads the store.
        seconds: How often.
    """

    def __init__(self, readers: Readers, seconds: float) -> None:
        self._readers = readers
        self._seconds = seconds
        self._watched: dict[Seen, str] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @contextlib.contextmanager
    def of(self, account_id: str) -> Iterator[Seen]:
        """Compare the account with what is seen of it, while the block runs."""
        seen = Seen()
        self._watched[seen] = account_id
        try:
            yield seen
        finally:
            del self._watched[seen]

    async def _look(self) -> None:
        while True:
            # A store that is away is asked again; a change is not lost by it.
            with contextlib.suppress(ConnectorError):
                if self._watched:
                    found = await self._readers.read(account_versions.versions)
                    for seen, account_id in self._watched.items():
                        if found.get(account_id) != seen.version:
                            seen.outdated.set()
            await asyncio.sleep(self._seconds)
