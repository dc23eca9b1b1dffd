"""The lane of one account: its due mails, over a few connections, until none is left."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from datetime import UTC, datetime, timedelta

from sqlmodel import Session

from activities.ports import Endpoint, LeasedSession, SmtpFailure
from activities.store import ledger, queue
from activities.store.queue import QueuedMail
from activities.store.queue_ledger import Outcome
from activities.transmitting.means import Means
from activities.transmitting.transaction import Progress
from models import policies
from models.delivery import OPEN_STATES, MessageStatus, Phase
from models.errors import UNTRIED, ConnectorError, ErrorType
from models.failure import Failure

_MORE = timedelta(seconds=1)
_SHARE = 20
"""Mails that one lease of a connection is good for, although somebody else waits for it."""
_BEFORE_MAIL = frozenset({Phase.CONNECT, Phase.BANNER, Phase.EHLO, Phase.STARTTLS, Phase.AUTH})
CHUNK = 250
"""Mails leased at once."""


class Lane:
    """Sends what an account has in the queue.

    Args:
        account_id: Whose mail.
        means: How.
        connections: Connections at once, at most.
    """

    def __init__(self, account_id: str, means: Means, *, connections: int) -> None:
        self.account_id = account_id
        self.counts: Counter[str] = Counter()
        self._means = means
        self._connections = connections
        self._patience = timedelta(seconds=means.settings.connection_patience_seconds)
        self._mails: deque[QueuedMail] = deque()
        self._filling: asyncio.Task[None] | None = None
        self._empty = False
        self._over = False
        """Whether nothing more is begun: nobody answers, or something is broken."""
        self._failure: Exception | None = None
        self._reached = False
        self._random = random.Random()  # noqa: S311 - jitter, not a secret

    async def run(self) -> None:
        """Send until nothing is due, nobody answers, or we are told to stop."""
        try:
            endpoint = await self._means.readers.read(self._endpoint)
        except ConnectorError as error:
            if error.temporary:
                raise
            await self._park(error)
            return
        try:
            await self._more()
            count = min(self._connections, len(self._mails))
            async with asyncio.TaskGroup() as group:
                for number in range(count):
                    # One connection is worth waiting for; more of them only if they are free.
                    patience = _MORE if number else self._patience
                    group.create_task(self._guarded(endpoint, patience))
        finally:
            await asyncio.shield(self._give_back())
        if self._failure is not None:
            raise self._failure

    def _endpoint(self, session: Session) -> Endpoint:
        return self._means.accounts.outgoing(session, self.account_id)[1]

    # --- connections ------------------------------------------------------------------------------

    async def _guarded(self, endpoint: Endpoint, patience: timedelta) -> None:
        """One connection. If it fails, the others end what they have begun.

        A group would cancel them, perhaps past their final dot, and leave mails of unknown outcome.
        """
        try:
            await self._connection(endpoint, patience)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised when all have ended
            self._failure = self._failure or error
            self._over = True

    async def _connection(self, endpoint: Endpoint, patience: timedelta) -> None:
        while (mail := await self._next()) is not None:
            # Not tried until there is a connection; whoever is quicker may take it.
            self._mails.appendleft(mail)
            try:
                async with self._means.connections.lease(
                    self.account_id, endpoint, patience
                ) as session:
                    await self._send_all(session)
            except ConnectorError as error:
                # No connection is free, or the server wants a pause: that is no attempt.
                if error.type not in UNTRIED:
                    raise
                return

    async def _send_all(self, session: LeasedSession) -> None:
        """Send one mail after the other; a share of them, when others wait for the connection."""
        sent = 0
        while not (session.wanted and sent >= _SHARE) and (mail := await self._next()) is not None:
            sent += 1
            try:
                await session.ready()
                failure = await self._open(session)
            except BaseException:
                self._mails.appendleft(mail)
                raise
            if failure is not None:
                await self._unreachable(mail, failure)
                return
            await self._send(session, mail)

    async def _open(self, session: LeasedSession) -> ConnectorError | None:
        """Make sure of a connection; returns why there is none."""
        try:
            await session.open()
        except ConnectorError as error:
            return error
        await self._note_reached()
        return None

    async def _send(self, session: LeasedSession, mail: QueuedMail) -> None:
        means, progress = self._means, Progress()
        means.batches.begin(mail)
        try:
            raw = mail.raw if mail.raw is not None else await self._read(mail)
            await means.transaction.run(session, mail, raw, progress)
        except ConnectorError as error:
            if _unconnected(session, error):
                means.batches.forget(mail)
                await self._unreachable(mail, error)
                return
            progress.failed(mail, error)
        except BaseException:
            # Told to stop, or a bug of ours: what the server said is written down first.
            self._end(mail, progress)
            raise
        self._end(mail, progress)

    async def _read(self, mail: QueuedMail) -> bytes:
        content = self._means.content
        return await self._means.readers.read(lambda s: content.read(s, mail.content_key)[1])

    def _end(self, mail: QueuedMail, progress: Progress) -> None:
        now = datetime.now(UTC)
        verdicts = progress.outcome(mail.recipients)
        outcome = Outcome(
            mail=mail,
            verdicts=verdicts,
            phase=progress.phase,
            error=progress.error,
            started_at=self._means.batches.started(mail),
            next_attempt_at=self._next_attempt(mail, progress.error, now),
            dsn=progress.dsn,
        )
        self._means.batches.end(outcome)
        if progress.error is not None and progress.error.type is ErrorType.LEASE_LOST:
            return  # it is counted by whoever has it now
        states = outcome.states.values()
        is_open = bool(OPEN_STATES.intersection(states))
        status = MessageStatus.QUEUED if is_open else ledger.status_of(list(states))
        self.counts[status] += 1

    def _next_attempt(
        self, mail: QueuedMail, error: Failure | None, now: datetime
    ) -> datetime | None:
        attempts = mail.attempts + 1
        if error is not None and not error.temporary:
            return None
        if mail.max_attempts is not None and attempts >= mail.max_attempts:
            return None
        settings = self._means.settings
        when = now + policies.next_send_delay(
            attempts,
            settings.retry_delays_seconds,
            jitter=settings.retry_jitter,
            cap=settings.max_retry_delay_seconds,
            hint=error.retry_after_seconds if error else None,
            rng=self._random,
        )
        return None if mail.give_up_at is not None and when > mail.give_up_at else when

    async def _note_reached(self) -> None:
        if not self._reached:
            self._reached = True
            await self._means.committer.commit(lambda s: queue.reached(s, self.account_id))

    async def _unreachable(self, mail: QueuedMail, error: ConnectorError) -> None:
        """No connection: this mail has had an attempt; the others wait until one is possible."""
        if not error.temporary:
            self._mails.appendleft(mail)
            await self._park(error)
            return
        self._means.batches.begin(mail)
        progress = Progress(Phase.CONNECT)
        progress.failed(mail, error)
        self._end(mail, progress)
        self._over = True
        settings, hint = self._means.settings, error.retry_after
        await self._means.committer.commit(
            lambda s: queue.back_off(
                s,
                self.account_id,
                settings.retry_delays_seconds,
                datetime.now(UTC),
                hint.total_seconds() if hint else None,
                settings.max_retry_delay_seconds,
            )
        )

    async def _park(self, error: ConnectorError) -> None:
        self._over = True
        self.counts["parked"] = 1
        await self._means.committer.commit(
            lambda s: queue.park(s, self.account_id, error.type, datetime.now(UTC))
        )

    # --- mails ------------------------------------------------------------------------------------

    async def _next(self) -> QueuedMail | None:
        if self._ending:
            return None
        if len(self._mails) < CHUNK // 2 and not self._empty:
            await self._more(wait=not self._mails)
        elif not self._mails and self._filling is not None:
            await asyncio.shield(self._filling)
        return self._mails.popleft() if self._mails and not self._ending else None

    @property
    def _ending(self) -> bool:
        return self._over or self._means.stopping.is_set()

    async def _more(self, *, wait: bool = True) -> None:
        """Lease more mails, in a task: what is leased is then known here, whoever is cancelled."""
        if self._filling is None:
            self._filling = asyncio.create_task(self._fill())
        if wait:
            await asyncio.shield(self._filling)

    async def _fill(self) -> None:
        means = self._means
        wanted, mails = means.take(CHUNK), list[QueuedMail]()
        try:
            if wanted:
                mails, outdated = await means.committer.commit(lambda s: self._take(s, wanted))
                if outdated:
                    self.counts[MessageStatus.CANCELLED] += outdated
            self._mails.extend(mails)
            self._empty = len(mails) < wanted or not wanted
        except Exception as error:  # noqa: BLE001 - nobody may be waiting for this task
            self._failure = self._failure or error
            self._over = True
        finally:
            means.give(wanted - len(mails))
            self._filling = None

    def _take(self, session: Session, wanted: int) -> tuple[list[QueuedMail], int]:
        """Lease mails; tells how many came too late."""
        now, means = datetime.now(UTC), self._means
        until = now + timedelta(seconds=means.settings.queue_lease_seconds)
        outdated = queue.cancel_outdated(session, self.account_id, now, CHUNK)
        return queue.lease(session, self.account_id, means.owner, wanted, now, until), outdated

    async def _give_back(self) -> None:
        if self._filling is not None:
            await self._filling
        mails, self._mails = list(self._mails), deque()
        if mails:
            self._means.give(len(mails))
            await self._means.committer.commit(lambda s: queue.give_back(s, mails))


def _unconnected(session: LeasedSession, error: ConnectorError) -> bool:
    """Whether a connection that had died could not be replaced, for a reason that will last.

    No server has been told of the mail: it is the account that somebody has to look at.
    """
    lasting = isinstance(error, SmtpFailure) and not error.temporary
    return lasting and not session.connected and session.phase in _BEFORE_MAIL
