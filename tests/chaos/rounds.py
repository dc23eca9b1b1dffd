"""A long run in rounds of a few minutes, each judged by itself, in a world and with a seed its own.

Mails, blows and restarts are spread evenly over them.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from temporalio.client import Client

from tests.chaos import draining, retrieving
from tests.chaos.control import Action
from tests.chaos.crash_points import DRAINING, RETRIEVING, SENDING
from tests.chaos.freezing import freeze_retrievers, freeze_senders
from tests.chaos.harness import WORKERS, Blow, Restart, World, blows
from tests.chaos.sending import smtp_options

STORES = ("sqlite", "postgresql")
_POINTS = tuple(dict.fromkeys(SENDING + DRAINING))
_BACKLOG, _SINGLES = 30, 8
"""Mails that wait in the queue, and that are sent at once, while blows fall."""
_DRAINS = 10
_WORKERS, _AT_ONCE = 4, 3
"""Workers under test, and blows that wait for them: there is always one that gets on."""


@dataclass(frozen=True)
class Asked:
    """How much there is to be, in all rounds together.

    Attributes:
        mails: To send; more, while blows are left.
        kills: Blows at random moments, every fourth of them a SIGTERM.
        times: Kills at each named point.
        freezes: Rounds of freezing; also how often a drain is frozen at each of its points while
            others are killed.
        restarts: Of Temporal, and of PostgreSQL in the rounds that use it.
        rounds: Of sending; 0 leaves it out.
        mailbox: Mails to retrieve; 0 leaves it out.
        boxes: Mailboxes at once.
        store: One of ``STORES``, or ``both``: then the rounds take turns.
        seed: Of everything random in the harness.
    """

    mails: int
    kills: int
    times: int
    freezes: int
    restarts: int
    rounds: int
    mailbox: int
    boxes: int
    store: str
    seed: int


@dataclass(frozen=True)
class Round:
    """One of them.

    Attributes:
        part: Of the results: ``send``, ``retrieve``, ``frozen`` or ``frozen_retrieve``.
        name: Its own.
        store: What it runs on.
        number: From 0, within its part.
    """

    part: str
    number: int
    store: str

    @property
    def name(self) -> str:
        return f"{self.part} {self.number + 1}"


def rounds_of(asked: Asked) -> Iterator[Round]:
    """All rounds, in order."""
    counts = {
        "send": asked.rounds,
        "frozen": asked.freezes if asked.rounds else 0,
        "retrieve": int(asked.mailbox > 0),
        "frozen_retrieve": asked.freezes if asked.mailbox else 0,
    }
    for part, count in counts.items():
        for number in range(count):
            yield Round(part, number, _store(asked, number))


def _store(asked: Asked, number: int) -> str:
    return asked.store if asked.store in STORES else STORES[(number + 1) % len(STORES)]


async def play(asked: Asked, this: Round) -> dict[str, Any]:
    """Play a round; its figures, with those that ought to be 0 and are not under ``wrong``."""
    seed = f"{asked.seed} {this.name}"
    workers = _WORKERS if this.part == "send" else WORKERS
    on_postgres = this.store == "postgresql"
    with World(seed, postgres=on_postgres, smtp=smtp_options(), workers=workers) as world:
        client = await world.client()
        figures = await _PARTS[this.part](asked, this, world, client)
    return figures | {"rounds": {this.store: 1}}


async def _send(asked: Asked, this: Round, world: World, client: Client) -> dict[str, Any]:
    mails = _share(asked.mails, asked.rounds, this.number)
    plan = plan_of(asked, this, world)
    figures = await draining.drain_under_blows(
        world,
        client,
        mails,
        plan,
        backlog=_BACKLOG,
        singles=_SINGLES,
        at_once=_AT_ONCE,
        drains=_DRAINS,
    )
    return asdict(figures) | {"wrong": figures.wrong()}


def plan_of(asked: Asked, this: Round, world: World) -> list[Blow | Restart]:
    """Blows and restarts of a round of sending, in random order."""
    share = asked.rounds, this.number
    at_random = _share(asked.kills, *share)
    plan: list[Blow | Restart] = []
    plan += blows(_POINTS, _share(asked.times, *share), at_random, world.random)
    frozen = _slice([point for point in draining.FROZEN for _ in range(asked.freezes)], *share)
    more: list[Blow | Restart] = [Blow(point, Action.STOP) for point in frozen]
    more += [Restart("temporal")] * _share(asked.restarts, *share)
    if this.store == "postgresql":
        hosts = [n for n in range(asked.rounds) if _store(asked, n) == this.store]
        number = hosts.index(this.number)
        more += [Restart("postgres")] * _share(asked.restarts, len(hosts), number)
    for one in more:
        # Not between a take-over and the loss that leads to it.
        places = [at for at, two in enumerate(plan) if not _takes_over(two)] or [0]
        plan.insert(world.random.choice(places), one)
    return plan


def _takes_over(one: Blow | Restart) -> bool:
    return isinstance(one, Blow) and (one.point or "").startswith("take_over")


async def _retrieve(asked: Asked, this: Round, world: World, client: Client) -> dict[str, Any]:
    plan = blows(RETRIEVING, asked.times, asked.kills, world.random)
    figures = await retrieving.retrieve_under_blows(
        world, client, asked.mailbox, plan, boxes=asked.boxes
    )
    hits = {"kills_per_point": dict(sorted(world.blows.items()))}
    return asdict(figures) | hits | {"wrong": figures.wrong()}


async def _frozen(_: Asked, __: Round, world: World, client: Client) -> dict[str, Any]:
    return await freeze_senders(world, client)


async def _frozen_retrieve(_: Asked, __: Round, world: World, client: Client) -> dict[str, Any]:
    return await freeze_retrievers(world, client)


_Part = Callable[[Asked, Round, World, Client], Coroutine[Any, Any, dict[str, Any]]]
_PARTS: dict[str, _Part] = {
    "send": _send,
    "frozen": _frozen,
    "retrieve": _retrieve,
    "frozen_retrieve": _frozen_retrieve,
}


def _share(total: int, parts: int, number: int) -> int:
    """What falls to one of so many parts."""
    return total * (number + 1) // parts - total * number // parts


def _slice(items: list[str], parts: int, number: int) -> list[str]:
    return items[len(items) * number // parts : len(items) * (number + 1) // parts]
