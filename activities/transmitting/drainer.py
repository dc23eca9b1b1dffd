"""Drains the queue: a lane for each account that has mail due, so that none waits for another."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import SystemRandom

from sqlmodel import Session

from activities.ports import Metrics, SmtpConnections
from activities.providers.registry import KNOWN, Providers
from activities.store import queue
from activities.store.accounts import Accounts
from activities.store.committer import Committer
from activities.store.content import ContentStore
from activities.store.readers import Readers
from activities.transmitting.batches import Batches
from activities.transmitting.lane import Lane
from activities.transmitting.means import Means
from activities.transmitting.transaction import Transaction
from activities.unwatched import NO_METRICS
from models.errors import ConnectorError, ErrorType
from models.settings import Settings

_LOOK_SECONDS = 0.5


class Drainer:
    """Sends what is due, account by account at once, each over connections of its own."""

    def __init__(
        self,
        committer: Committer,
        readers: Readers,
        accounts: Accounts,
        content: ContentStore,
        connections: SmtpConnections,
        settings: Settings,
        metrics: Metrics = NO_METRICS,
        providers: Providers = KNOWN,
    ) -> None:
        self._committer = committer
        self._readers = readers
        self._accounts = accounts
        self._content = content
        self._connections = connections
        self._settings = settings
        self._metrics = metrics
        self._providers = providers

    async def drain(
        self, owner: str, *, account_id: str | None, limit: int | None, stopping: asyncio.Event
    ) -> Counter[str]:
        """Send until nothing is due, ``limit`` mails were tried, or ``stopping`` is set.

        Returns:
            Mails by the status they came to; ``queued`` are those that are tried again later, and
            ``parked`` counts accounts.
        """
        batches = Batches(self._committer)
        budget = _Budget(limit)
        means = Means(
            owner=owner,
            committer=self._committer,
            readers=self._readers,
            accounts=self._accounts,
            content=self._content,
            connections=self._connections,
            transaction=Transaction(
                batches,
                timedelta(seconds=self._settings.final_reply_seconds),
                self._settings.queue_lease_seconds / 2,
                self._metrics,
            ),
            batches=batches,
            settings=self._settings,
            take=budget.take,
            give=budget.give,
            stopping=stopping,
        )
        counts: Counter[str] = Counter()
        async with batches.writing(), self._renewed(owner):
            await self._run_lanes(means, account_id, counts)
        return counts

    async def _run_lanes(self, means: Means, only: str | None, counts: Counter[str]) -> None:
        lanes: dict[asyncio.Task[None], Lane] = {}
        fruitless: set[str] = set()
        failure: BaseException | None = None
        broken: BaseException | None
        try:
            while True:
                if not means.stopping.is_set() and means.take(1):
                    means.give(1)
                    broken = await self._open_lanes(means, only, lanes, fruitless)
                    failure = failure or broken
                if not lanes:
                    break
                done, _ = await asyncio.wait(
                    lanes, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    lane = lanes.pop(task)
                    counts.update(lane.counts)
                    if not lane.counts:
                        # Another worker has its mail, or all of its connections.
                        fruitless.add(lane.account_id)
                    if broken := task.exception():
                        # The others go on: cancelled, they would leave mails of unknown outcome.
                        fruitless.add(lane.account_id)
                        failure = failure or broken
        finally:
            for task in lanes:
                task.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
            for lane in lanes.values():
                counts.update(lane.counts)
        if failure is not None and not counts:  # else the next round comes upon it again
            raise failure

    async def _open_lanes(
        self,
        means: Means,
        only: str | None,
        lanes: dict[asyncio.Task[None], Lane],
        fruitless: set[str],
    ) -> Exception | None:
        """Open lanes for accounts that have mail due; returns what kept one from being opened."""
        busy = {lane.account_id for lane in lanes.values()} | fruitless
        room = self._settings.queue_concurrency - len(lanes)
        try:
            due = await self._readers.read(lambda s: queue.due_accounts(s, datetime.now(UTC)))
        except ConnectorError as error:
            return error
        # At random: with more accounts than room, it is not always the same ones that wait.
        SystemRandom().shuffle(due)
        failure: Exception | None = None
        for account_id in due:
            if account_id in busy or (only is not None and account_id != only):
                continue
            if room <= 0:
                break
            try:
                limit = await self._limit(account_id)
            except Exception as error:  # noqa: BLE001 - an account of which nothing can be read
                fruitless.add(account_id)
                if getattr(error, "type", None) is not ErrorType.ACCOUNT_NOT_FOUND:
                    failure = failure or error  # else it was deleted just now
                continue
            room -= 1
            lane = Lane(account_id, means, connections=limit)
            lanes[asyncio.create_task(lane.run())] = lane
        return failure

    async def _limit(self, account_id: str) -> int:
        """Connections at once for an account's queued mail."""
        account = await self._readers.read(lambda s: self._accounts.get(s, account_id))
        allowed = account.max_connections or self._providers.of(account).connections_per_account
        return min(allowed, self._settings.queue_connections)

    @asynccontextmanager
    async def _renewed(self, owner: str) -> AsyncIterator[None]:
        """Keep the leases of ``owner`` while the block runs."""
        seconds = self._settings.queue_lease_seconds

        def extend(session: Session) -> None:
            queue.renew(session, owner, datetime.now(UTC) + timedelta(seconds=seconds))

        async def renew() -> None:
            while True:
                await asyncio.sleep(seconds / 3)
                # A store that is away: the leases run out, and the intents then fail.
                with contextlib.suppress(ConnectorError):
                    await self._committer.commit(extend)

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


class _Budget:
    """How many mails may still be tried."""

    def __init__(self, limit: int | None) -> None:
        self._left = limit

    def take(self, wanted: int) -> int:
        if self._left is None:
            return wanted
        taken = min(wanted, self._left)
        self._left -= taken
        return taken

    def give(self, unused: int) -> None:
        if self._left is not None:
            self._left += unused
