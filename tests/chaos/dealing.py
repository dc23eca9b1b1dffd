"""Blows and restarts, dealt one after the other in the order of a plan."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from tests.chaos.control import Action, Crash
from tests.chaos.harness import RANDOM, Blow, Restart, World
from tests.chaos.judging import SendFigures

_PATIENCE_SECONDS = 180
"""On a machine that is busy with other things, too, a worker comes past a point in this time."""
_FROZEN_LEASES = 2.5
"""How long a frozen worker sleeps, in leases of the queue: others have its mails by then."""
_SERVERS = "servers"


@dataclass
class Dealt:
    """What a plan came to."""

    kills: Counter[str] = field(default_factory=Counter)
    """SIGKILLs by point."""
    freezes: Counter[str] = field(default_factory=Counter)
    ended: int = 0
    restarts: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)

    def enter(self, figures: SendFigures) -> None:
        """Write it down beside what it led to."""
        figures.kills, figures.freezes = self.kills.total(), self.freezes.total()
        figures.ended = self.ended
        figures.restarts = dict(self.restarts)
        figures.kills_per_point = dict(sorted(self.kills.items()))
        figures.freezes_per_point = dict(sorted(self.freezes.items()))
        figures.missed = self.missed

    def count(self, crash: Crash) -> None:
        """Count one that hit."""
        match crash.action:
            case Action.KILL:
                self.kills[crash.point] += 1
            case Action.STOP:
                self.freezes[crash.point] += 1
            case Action.END:
                self.ended += 1


async def deal(
    world: World,
    plan: Sequence[Blow | Restart],
    *,
    before: Callable[[int], None],
    at_once: int = 1,
) -> Dealt:
    """Deal a plan; ``before`` is called with each one's position. Frozen workers wake in time.

    ``at_once`` of them wait for somebody to come past their points, but never two at one point,
    and servers are restarted one after the other.
    """
    dealt = Dealt()
    places: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
    left = iter(enumerate(plan))

    async def dealer() -> None:
        for position, next_one in left:
            before(position)
            if isinstance(next_one, Restart):
                async with places[_SERVERS]:
                    await world.restart(next_one)
                dealt.restarts[next_one.server] += 1
                continue
            async with places[next_one.point] if next_one.point else nullcontext():
                crash = await world.strike(next_one, seconds=_PATIENCE_SECONDS)
            if crash is None:
                dealt.missed.append(next_one.point or RANDOM)
                continue
            dealt.count(crash)
            if crash.action is Action.STOP:
                thawing.create_task(_thaw(world, crash))

    async with asyncio.TaskGroup() as thawing, asyncio.TaskGroup() as dealers:
        for _ in range(at_once):
            dealers.create_task(dealer())
    return dealt


async def _thaw(world: World, crash: Crash) -> None:
    await asyncio.sleep(world.settings.queue_lease_seconds * _FROZEN_LEASES)
    world.thaw(crash)
