"""Connections that are kept for the next mail (``activities.ports.SmtpConnections``).

A place (the right to one connection, and that connection) goes from hand to hand: who gives it
back puts it on the shelf, who needs one takes it from there, else asks the limits for a new one.
Waiting is first come, first served within an account: only the first in its line asks the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from random import SystemRandom
from typing import Any, Self

from activities.mail.smtp import SmtpClient
from activities.mail.smtp_lease import PooledSession
from activities.mail.smtp_places import Key, Place, Shelf
from activities.ports import ConnectionPermit, Endpoint, SendingLimits, SendingPauses
from activities.providers.profile import Profile
from activities.providers.registry import profile_of
from models.errors import ConnectorError, ErrorType

_RANDOM = SystemRandom()
_SWEEP_SECONDS = 1.0
_CLOSING_SECONDS = 1.0
_TURN_SECONDS = 5.0
"""How long a worker keeps a connection that others wait for; each change of hands is a login."""
_AFTER_YOU_SECONDS = 2.0
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 1.0
"""Between two questions to the store, in seconds."""


@dataclass(slots=True)
class _Line:
    """Who waits for a connection of one account to its host."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the first; asyncio wakes the others in order."""
    change: asyncio.Event = field(default_factory=asyncio.Event)
    """Something was given back: the first should look again."""
    waiting: int = 0
    pause: float = _FIRST_PAUSE
    ask_at: float = 0.0


class SmtpPool:
    """See the module. Entered, it closes what is idle for too long; left, it closes everything.

    Args:
        client: Opens connections.
        limits: Says how many there may be; must be left after the pool.
        pauses: Says when there may be none; hears what servers say about our pace.
        most: Connections kept and used at once, as far as closing idle ones can bring that about;
            how many are used is bounded by those who use them.
        profile: Finds what is known of the provider that runs a host.
    """

    def __init__(
        self,
        client: SmtpClient,
        limits: SendingLimits,
        pauses: SendingPauses,
        *,
        most: int = 200,
        profile: Callable[[str], Profile] = profile_of,
    ) -> None:
        self._client = client
        self._limits = limits
        self._pauses = pauses
        self._most = most
        self._profile = profile
        self._shelf = Shelf()
        self._used: set[Place] = set()
        self._lines: dict[tuple[str, str], _Line] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._sweeping: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        self._sweeping = asyncio.create_task(self._sweep())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Say QUIT on all connections at once; after a second drop those that do not answer."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        places = list(self._shelf)
        for place in places:
            self._discard(place)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSING_SECONDS)
        for place in places:
            place.abort()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @asynccontextmanager
    async def lease(
        self, account_id: str, endpoint: Endpoint, patience: timedelta
    ) -> AsyncIterator[PooledSession]:
        """Take the right to one connection of the account; leaving gives it back."""
        await self._pauses.check(account_id, endpoint.host)
        if endpoint.credentials is not None:
            token = await endpoint.credentials.fresh(force=False)
            endpoint = replace(endpoint, password=token)
        session = PooledSession(
            await self._place(account_id, endpoint, patience),
            endpoint,
            self._client,
            self._pauses,
            self._profile(endpoint.host),
            renew=partial(self._renewed, endpoint=endpoint, patience=patience),
            wanted=lambda place: self._awaited(place) or self._contended(place),
        )
        try:
            yield session
        finally:  # without waiting: who is told to stop has something more important to do
            self._give_back(session.place)

    # --- taking -----------------------------------------------------------------------------------

    async def _place(self, account_id: str, endpoint: Endpoint, patience: timedelta) -> Place:
        whose = (account_id, endpoint.host)
        line = self._lines.setdefault(whose, _Line())
        line.waiting += 1
        try:
            place = await self._first_in(line, account_id, endpoint, patience)
        finally:
            line.waiting -= 1
            if not line.waiting:
                del self._lines[whose]
        self._used.add(place)
        return place

    async def _first_in(
        self, line: _Line, account_id: str, endpoint: Endpoint, patience: timedelta
    ) -> Place:
        key, deadline = Key.of(endpoint), time.monotonic() + patience.total_seconds()
        try:
            async with asyncio.timeout(patience.total_seconds()):
                await line.turn.acquire()
        except TimeoutError:
            raise _limit(endpoint, patience) from None
        try:
            while True:
                line.change.clear()
                if place := self._shelved(account_id, endpoint.host, key):
                    return place
                if permit := await self._permit(line, account_id, endpoint):
                    return Place(account_id, endpoint.host, permit)
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise _limit(endpoint, patience)
                pause = min(remaining, max(line.ask_at - time.monotonic(), 0))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await line.change.wait()
        finally:
            line.turn.release()

    def _shelved(self, account_id: str, host: str, key: Key) -> Place | None:
        while place := self._shelf.take(account_id, host, key):
            if not place.permit.lost:
                return place
            self._later(self._dispose(place))
        return None

    async def _permit(
        self, line: _Line, account_id: str, endpoint: Endpoint
    ) -> ConnectionPermit | None:
        """Ask the limits, but not more often than is reasonable."""
        if time.monotonic() < line.ask_at:
            return None
        if len(self._used) + len(list(self._shelf)) >= self._most:
            self._close_oldest()
        permit = await self._limits.take(account_id, endpoint)
        if permit is None:
            # An account that was given another server does not wait for its old connections.
            for place in self._shelf.strays(account_id, endpoint.host):
                self._discard(place)
            if self._profile(endpoint.host).connections_per_host is not None:
                self._close_oldest(endpoint.host)  # another account's, perhaps
            line.ask_at = time.monotonic() + line.pause * _RANDOM.uniform(0.5, 1.5)
            line.pause = min(line.pause * 1.5, _LAST_PAUSE)
        else:
            line.pause = _FIRST_PAUSE
        return permit

    async def _renewed(self, place: Place, endpoint: Endpoint, patience: timedelta) -> Place:
        self._used.discard(place)
        await self._dispose(place, elsewhere=True)
        return await self._place(place.account_id, endpoint, patience)

    # --- giving back ------------------------------------------------------------------------------

    def _give_back(self, place: Place) -> None:
        self._used.discard(place)
        place.kept = True
        place.touch()
        spent = place.mails >= self._profile(place.host).mails_per_connection
        if self._closed or place.permit.lost or self._contended(place):
            self._later(self._dispose(place, elsewhere=True))
        elif place.live and not spent:
            self._keep(place)
        else:
            self._later(self._dispose(place))

    def _keep(self, place: Place) -> None:
        self._shelf.put(place)
        if line := self._lines.get((place.account_id, place.host)):
            line.change.set()

    def _awaited(self, place: Place) -> bool:
        """Whether somebody waits for just this right."""
        return (place.account_id, place.host) in self._lines

    def _contended(self, place: Place) -> bool:
        """Whether it is the turn of another worker, or of another account at a limited host."""
        if place.permit.held_seconds < _TURN_SECONDS:
            return False
        limited = self._profile(place.host).connections_per_host is not None
        return place.permit.wanted or (
            limited and any(h == place.host and a != place.account_id for a, h in self._lines)
        )

    async def _dispose(self, place: Place, *, elsewhere: bool = False) -> None:
        """Close the connection; the right goes to who waits for it here, or to anybody else."""
        await place.close()
        if self._awaited(place) and not elsewhere and not place.permit.lost and not self._closed:
            self._keep(place)
            return
        await self._limits.release(place.permit)
        for (account_id, _), line in self._lines.items():
            if elsewhere and account_id == place.account_id:
                line.ask_at = time.monotonic() + _AFTER_YOU_SECONDS
            else:  # of a limit per host, other accounts may profit
                line.ask_at = 0
                line.change.set()

    def _close_oldest(self, host: str | None = None) -> None:
        if place := self._shelf.oldest(host=host):
            self._discard(place)

    def _discard(self, place: Place, *, elsewhere: bool = False) -> None:
        """Take a place off the shelf and dispose of it, without waiting."""
        self._shelf.remove(place)
        self._later(self._dispose(place, elsewhere=elsewhere))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            for place in self._shelf:
                idle = place.idle_seconds >= self._profile(place.host).idle_seconds
                useless = idle or not place.live or place.permit.lost
                if useless or place.permit.wanted:
                    self._discard(place, elsewhere=place.permit.wanted)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _limit(endpoint: Endpoint, waited: timedelta) -> ConnectorError:
    # Who waited in vain comes again after about as long, not all of them at once.
    later = max(waited.total_seconds(), 1) * _RANDOM.uniform(0.5, 1.5)
    return ConnectorError(
        ErrorType.CONNECTION_LIMIT,
        f"all connections that the account may have to {endpoint.host} are in use; nothing was "
        "tried. It is tried again.",
        retry_after=timedelta(seconds=later),
    )
