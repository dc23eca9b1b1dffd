"""Limits of connections, over the slots in the store (``activities.ports.SendingLimits``)."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from activities.ports import ConnectionPermit, Endpoint
from activities.providers.profile import Profile
from activities.providers.registry import profile_of
from activities.store import slots
from activities.store.aside import Aside
from activities.store.scopes import account_scope, host_scope
from activities.store.slots import Slot
from models.errors import ConnectorError
from models.settings import Settings

_LOOK_SECONDS = 1.0
_WANT = timedelta(seconds=5)
"""How long others know that a slot is wanted; it is asked for more often than that."""


@dataclass(frozen=True, slots=True, eq=False)
class Permit:
    """``ConnectionPermit``: a slot of the account and, where hosts are limited, one of the host."""

    slots: tuple[Slot, ...]
    limits: SendingLimits
    since: float

    @property
    def lost(self) -> bool:
        """Whether others may have it by now."""
        return not self.limits.holds(self.slots)

    @property
    def wanted(self) -> bool:
        """Whether another worker waits for one like it."""
        return self.limits.wanted(self.slots)

    @property
    def held_seconds(self) -> float:
        """How long this worker has had it."""
        return time.monotonic() - self.since


class SendingLimits:
    """``activities.ports.SendingLimits``; entered, it renews what it holds until it is left.

    Args:
        store: Where the slots are.
        settings: How long a lease is.
        profile: Finds what is known of the provider that runs a host.
    """

    def __init__(
        self, store: Aside, settings: Settings, profile: Callable[[str], Profile] = profile_of
    ) -> None:
        self.owner = str(uuid.uuid4())
        self._store = store
        self._lease = timedelta(seconds=settings.slot_lease_seconds)
        self._profile = profile
        self._held: set[Slot] = set()
        self._lapse = 0.0
        """Until then (monotonic) all that is held is ours for sure."""
        self._wanted: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._keep_renewing()),
            asyncio.create_task(self._keep_looking()),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Free everything; what cannot be freed now is free when its lease is over."""
        for task in self._tasks:
            task.cancel()
        await self._store.settled()
        with contextlib.suppress(ConnectorError):
            await self._store.write(lambda s: slots.release_all(s, self.owner))

    async def take(self, account_id: str, endpoint: Endpoint) -> Permit | None:
        """The right to open a connection; None when all are taken, which others are told of."""
        profile = self._profile(endpoint.host)
        account_limit = endpoint.max_connections or profile.connections_per_account
        limits = [(account_scope(account_id), account_limit)]
        if profile.connections_per_host is not None:
            limits.append((host_scope(endpoint.host), profile.connections_per_host))
        # Shielded: a slot that was taken for somebody who has left meanwhile must not be kept.
        taking = self._store.later(self._take(limits))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(self._put_back)
            raise

    async def release(self, permit: ConnectionPermit) -> None:
        """Give a permit back. A store that is away frees it when its lease is over."""
        if isinstance(permit, Permit) and self._held.intersection(permit.slots):
            self._held.difference_update(permit.slots)
            self._wanted.difference_update(scope for scope, _ in permit.slots)
            with contextlib.suppress(ConnectorError):
                await self._store.write(lambda s: slots.release(s, self.owner, permit.slots))

    async def renew(self) -> None:
        """Lease everything anew; what others have taken meanwhile is lost."""
        before, asked = set(self._held), time.monotonic()
        if before:
            kept = await self._store.write(lambda s: slots.renew(s, self.owner, self._lease))
            self._held -= before - kept
            self._lapse = asked + self._lease.total_seconds()

    def holds(self, taken: tuple[Slot, ...]) -> bool:
        """Whether these are ours for sure."""
        return self._held.issuperset(taken) and time.monotonic() < self._lapse

    def wanted(self, taken: tuple[Slot, ...]) -> bool:
        """Whether another worker waits for one of their scopes."""
        return any(scope in self._wanted for scope, _ in taken)

    async def _take(self, limits: list[tuple[str, int]]) -> Permit | None:
        asked = time.monotonic()
        taken = await self._store.write(
            lambda s: slots.take_all(s, limits, self.owner, self._lease, want=_WANT)
        )
        if taken is None:
            return None
        if not self._held:  # else the oldest of them counts, until all are renewed
            self._lapse = asked + self._lease.total_seconds()
        self._held.update(taken)
        return Permit(tuple(taken), self, asked)

    def _put_back(self, taking: asyncio.Task[Permit | None]) -> None:
        if not taking.cancelled() and not taking.exception() and (permit := taking.result()):
            self._store.later(self.release(permit))

    async def _keep_renewing(self) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            # A store that is away is asked again; until it is back, others cannot take them.
            with contextlib.suppress(ConnectorError):
                await self.renew()

    async def _keep_looking(self) -> None:
        """Learn which of the scopes that we have slots in are wanted by other workers."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            scopes = {scope for scope, _ in self._held}
            with contextlib.suppress(ConnectorError):
                self._wanted = scopes and await self._store.read(
                    lambda s, scopes=scopes: slots.wanted(s, scopes, self.owner)  # type: ignore[misc]
                )
