"""Tells a subscription's workflow what its listener notices, until the workflow has heard it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

from activities.ports import Subscriptions
from models.errors import ConnectorError, ErrorType
from models.subscription import FolderMark, ListenerNews, ListenerSign, ListenerState

_GAP_SECONDS: Final = 1.0
"""Between two signals: a hundred mails in a second are one piece of news."""
_LAST_PAUSE: Final = 30.0


class Teller:
    """What a listener has to tell; news that come while some are under way are told together.

    Args:
        subscriptions: Reaches the workflow.
        workflow_id: The workflow.
        first_run_id: Of its chain.
    """

    def __init__(self, subscriptions: Subscriptions, workflow_id: str, first_run_id: str) -> None:
        self._subscriptions = subscriptions
        self._workflow_id = workflow_id
        self._first_run_id = first_run_id
        self._state = ListenerState.CONNECTING
        self._error: ErrorType | None = None
        self._proven_at: datetime | None = None
        self._arrived = 0
        self._mark: FolderMark | None = None
        self._number: int | None = None
        self._due = asyncio.Event()

    @property
    def sign(self) -> ListenerSign:
        """How the listener stands now."""
        return ListenerSign(state=self._state, proven_at=self._proven_at, error_type=self._error)

    def proven(self) -> None:
        """The server has answered just now; that alone is no news."""
        self._proven_at = datetime.now(UTC)

    def connected(self, state: ListenerState, mark: FolderMark, number: int | None) -> None:
        """A connection stands."""
        self.proven()
        self._state, self._error, self._mark, self._number = state, None, mark, number
        self._due.set()

    def arrived(self, mails: int, state: ListenerState) -> None:
        """Mails have come, or the server no longer tells of them by itself."""
        self.proven()
        if mails or state is not self._state:
            self._arrived += mails
            self._state = state
            self._due.set()

    def failed(self, state: ListenerState, error: ConnectorError) -> None:
        """There is no connection."""
        if (state, error.type) != (self._state, self._error):
            self._state, self._error = state, error.type
            self._due.set()

    async def tell(self) -> None:
        """Tell for ever; returns when the workflow is over, so that nobody listens for nobody."""
        while True:
            await self._due.wait()
            self._due.clear()
            news = ListenerNews(
                state=self._state,
                at=datetime.now(UTC),
                proven_at=self._proven_at,
                error_type=self._error,
                arrived=self._arrived,
                mark=self._mark,
                number_of_emails=self._number,
            )
            self._arrived, self._mark = 0, None
            if not await self._told(news):
                return
            await asyncio.sleep(_GAP_SECONDS)

    async def _told(self, news: ListenerNews) -> bool:
        pause = 0.2
        while True:
            try:
                return await self._subscriptions.tell(self._workflow_id, self._first_run_id, news)
            except ConnectorError:  # Temporal is away; the same news twice do no harm
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LAST_PAUSE)
