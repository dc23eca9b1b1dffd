"""Drains the queue: a lane for each account that has mail due, so that none waits for another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import SystemRandom

from sqlmodel import Session

from activities.ports import Metrics, SmtpConnections
from activities.providers.registry import KNOWN, Providers
from activities.store import queue
from activities.store.accounts import Accounts
from activities.store.committer import Committer
from activities.store.content import ContentStore
from activities.store.queue_journal import QueueJournal
from activities.store.readers import Readers
from activities.transmitting.batches import Batches
from activities.transmitting.lane import Lane
from activities.transmitting.means import Means
from activities.transmitting.transaction import Transaction
from activities.unwatched import NO_METRICS
from models.errors import ConnectorError, ErrorType
from models.settings import Settings

_LOOK_SECONDS = 0.5
_log = logging.getLogger(__name__)


class Drainer:
    """Sends what is due, account by account at once, each over connections of its own.

    A server may rightly take ten minutes for the reply after the final dot. A drain that is over
    does not wait for it, so that the next one can serve everybody else: its connections go on
    without it, under the leases it has taken, which are renewed until the last of them has ended.
    How many there can be is bounded by the connections that the accounts may have.

    Args:
        handover_seconds: How long a drain that is over waits for what it has begun.
    """

    def __init__(
        self,
        committer: Committer,
        journal: QueueJournal,
        readers: Readers,
        accounts: Accounts,
        content: ContentStore,
        connections: SmtpConnections,
        settings: Settings,
        metrics: Metrics = NO_METRICS,
        providers: Providers = KNOWN,
        *,
        handover_seconds: float = 5,
    ) -> None:
        self._committer = committer
        self._journal = journal
        self._readers = readers
        self._accounts = accounts
        self._content = content
        self._connections = connections
        self._settings = settings
        self._metrics = metrics
        self._providers = providers
        self._handover_seconds = handover_seconds
        self._rounds: dict[asyncio.Task[None], _Round] = {}
        """Drains under way, also those that nobody waits for any more."""
        self._late: dict[str | None, Counter[str]] = {}
        """What became of their mails since, by the account they were for."""

    async def drain(
        self, owner: str, *, account_id: str | None, limit: int | None, stopping: asyncio.Event
    ) -> Counter[str]:
        """Send until nothing is due, ``limit`` mails were tried, or ``stopping`` is set.

        What a server has not answered a little later goes on without us, and is counted in a later
        drain of this worker; not if there is a ``limit``, which is kept by counting. One that is
        cancelled begins nothing more; what it has begun goes on as well.

        Returns:
            Mails by the status they came to; ``queued`` are those that are tried again later, and
            ``parked`` counts accounts.
        """
        round_ = _Round(account_id)
        task = asyncio.create_task(self._run(round_, owner, limit))
        self._rounds[task] = round_
        task.add_done_callback(self._ended)
        try:
            await self._attend(task, round_, stopping, forever=limit is not None)
            if task.done():
                task.result()
        finally:
            round_.stopping.set()
            round_.attended = False
        return round_.take_counts() + self._late.pop(account_id, Counter())

    async def finish(self, seconds: float) -> None:
        """Wait for what drains have left under way; what remains then is cut short and labelled."""
        if not self._rounds:
            return
        _, cut_short = await asyncio.wait(self._rounds, timeout=seconds)
        for task in cut_short:
            task.cancel()
        await asyncio.gather(*cut_short, return_exceptions=True)

    async def _attend(
        self, task: asyncio.Task[None], round_: _Round, stopping: asyncio.Event, *, forever: bool
    ) -> None:
        over = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({task, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
        round_.stopping.set()
        await asyncio.wait({task}, timeout=None if forever else self._handover_seconds)

    def _ended(self, task: asyncio.Task[None]) -> None:
        round_ = self._rounds.pop(task)
        if round_.attended:
            return
        counts = self._late.setdefault(round_.account_id, Counter())
        counts.update(round_.take_counts())
        if not task.cancelled() and (error := task.exception()):
            # The next drain comes upon it again.
            _log.warning("a drain that nobody waited for has failed: %s", type(error).__name__)

    async def _run(self, round_: _Round, owner: str, limit: int | None) -> None:
        batches = Batches(self._committer, self._journal)
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
            stopping=round_.stopping,
        )
        async with batches.writing(), self._renewed(owner):
            await self._run_lanes(means, round_)

    async def _run_lanes(self, means: Means, round_: _Round) -> None:
        lanes, counts = round_.lanes, round_.counts
        fruitless: set[str] = set()
        failure: BaseException | None = None
        broken: BaseException | None
        try:
            while True:
                if not means.stopping.is_set() and means.take(1):
                    means.give(1)
                    broken = await self._open_lanes(means, round_.account_id, lanes, fruitless)
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
            lanes.clear()
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


@dataclass(slots=True)
class _Round:
    """One drain, for an account or for all."""

    account_id: str | None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    lanes: dict[asyncio.Task[None], Lane] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    """Of lanes that have ended."""
    attended: bool = True
    """Whether somebody waits for it."""

    def take_counts(self) -> Counter[str]:
        """What has not been taken yet, also of lanes that are under way."""
        taken = Counter(self.counts)
        self.counts.clear()
        for lane in self.lanes.values():
            taken.update(lane.counts)
            lane.counts.clear()
        return taken


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
