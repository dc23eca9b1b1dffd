"""The journal of the queue: what many connections write at once is committed at once.

While one group is being committed the next one gathers; the more connections there are, the fewer
commits a mail costs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from activities.store import ledger, queue_ledger
from activities.store.committer import Committer
from activities.store.queue import QueuedMail
from activities.store.queue_journal import QueueJournal
from activities.store.queue_ledger import Intent, Outcome
from models.errors import ConnectorError, ErrorType

_RETRY_SECONDS = 0.5
_GATHER_SECONDS = 0.003


class Batches:
    """``activities.transmitting.transaction.Journal`` of leased mails, and their outcomes."""

    def __init__(self, committer: Committer, journal: QueueJournal) -> None:
        self._committer = committer
        self._journal = journal
        self._intents: list[tuple[Intent, asyncio.Future[None]]] = []
        self._outcomes: list[Outcome] = []
        self._started: dict[str, datetime] = {}
        self._intended: set[str] = set()
        self._expected = 1
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Commit while the block runs; it ends when everything is committed."""
        task = asyncio.create_task(self._write())
        try:
            yield
        finally:
            # The servers' words exist only here: not even a cancelled drain leaves without them.
            await asyncio.shield(self._idle.wait())
            task.cancel()

    def begin(self, mail: QueuedMail) -> None:
        """Note that an attempt begins."""
        self._started[mail.attempt_id] = datetime.now(UTC)

    def forget(self, mail: QueuedMail) -> None:
        """Note that it did not begin after all."""
        self._started.pop(mail.attempt_id, None)

    async def intend(self, ticket: QueuedMail, accepted: Sequence[int]) -> None:
        """Commit that the final dot is about to be written; raises ``LeaseLost`` if not ours."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        intent = Intent(ticket, accepted, self._started[ticket.attempt_id])
        self._intents.append((intent, future))
        self._wake()
        try:
            await future
        finally:
            # Who is cancelled meanwhile sends nothing: what is not committed yet never will be.
            self._intents = [asked for asked in self._intents if asked[1] is not future]

    async def withdraw(self, ticket: QueuedMail) -> None:
        """Commit that it will not be.

        If the mail was taken over, the attempt was called unknown. That it was not is said by its
        outcome, which is written all the same.
        """
        try:
            await self._committer.commit(lambda s: ledger.withdraw_dot(s, ticket))
        except ConnectorError as error:
            if error.type is not ErrorType.LEASE_LOST:
                raise

    def end(self, outcome: Outcome) -> None:
        """Commit an outcome soon: before, or together with, any intent that is asked for later."""
        self._outcomes.append(outcome)
        self._started.pop(outcome.mail.attempt_id, None)
        self._wake()

    def started(self, mail: QueuedMail) -> datetime:
        """When its attempt began."""
        return self._started[mail.attempt_id]

    def _wake(self) -> None:
        self._idle.clear()
        self._work.set()

    async def _write(self) -> None:
        while True:
            await self._work.wait()
            while self._intents or self._outcomes:
                await self._gather()
                await self._write_group()
            self._work.clear()
            self._idle.set()

    async def _gather(self) -> None:
        """Wait a moment for as many intents as came last time: a commit costs more than that."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _GATHER_SECONDS
        while len(self._intents) < self._expected and (left := deadline - loop.time()) > 0:
            self._work.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._work.wait(), left)
        self._expected = max(1, len(self._intents))

    async def _write_group(self) -> None:
        intents, self._intents = self._intents, []
        # Seen only now: an intent may have been committed for who did not wait for it.
        outcomes = [
            replace(one, intended=True) if one.mail.attempt_id in self._intended else one
            for one in self._outcomes
        ]
        self._outcomes = []
        try:
            mine = await self._commit([intent for intent, _ in intents], outcomes)
        except ConnectorError as error:
            # Nothing has been sent for an intent that failed; an outcome has nowhere else to be.
            for _, future in intents:
                _fail(future, error)
            # One that cannot be written, a bug of ours, is labelled when its lease runs out.
            if outcomes and error.temporary:
                self._outcomes = outcomes + self._outcomes
                await asyncio.sleep(_RETRY_SECONDS)
            return
        self._intended.difference_update(outcome.mail.attempt_id for outcome in outcomes)
        for intent, future in intents:
            if intent.mail.attempt_id in mine:
                self._intended.add(intent.mail.attempt_id)
                if not future.done():
                    future.set_result(None)
            else:
                _fail(future, _lost())

    async def _commit(self, intents: Sequence[Intent], outcomes: Sequence[Outcome]) -> set[str]:
        """Commit a group; returns the attempts whose dot may be sent."""
        try:
            recorded = await self._journal.record(outcomes, intents)
        except ConnectorError as error:
            if error.temporary or (not outcomes and len(intents) < 2):
                raise
        else:
            for outcome in recorded.left:
                await self._commit_alone(outcome)
            return recorded.intended
        # One of them is at fault; it must not take the others along.
        for outcome in outcomes:
            await self._commit_alone(outcome)
        mine: set[str] = set()
        for intent in intents:
            try:
                mine |= await self._commit([intent], [])
            except ConnectorError as error:
                if error.temporary:
                    raise
        return mine

    async def _commit_alone(self, outcome: Outcome) -> None:
        while True:
            try:
                await self._committer.commit(lambda s: queue_ledger.end_carefully(s, outcome))
            except ConnectorError as error:
                if not error.temporary:
                    return  # a bug of ours: the lease runs out, and the mail is labelled then
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return


def _fail(future: asyncio.Future[None], error: ConnectorError) -> None:
    if not future.done():
        future.set_exception(error)


def _lost() -> ConnectorError:
    return ConnectorError(
        ErrorType.LEASE_LOST, "another worker has taken this delivery over; nothing was sent"
    )
