"""A little of everything: the queue and single mails under kills, a freeze and restarts.

The same at full length: ``make chaos``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.chaos.control import Action
from tests.chaos.draining import drain_under_blows
from tests.chaos.harness import Blow, Restart, World
from tests.chaos.sending import smtp_options
from tests.stores import chosen

pytestmark = pytest.mark.timeout(600)

_ON_POSTGRES = chosen() == "postgresql"
_POINTS = (
    "compose.committed",
    "lease.committed",
    "intend_dot.committed",
    "intents.before_commit",
    "intents.committed",
    "smtp.in_body",
    "smtp.before_dot",
    "smtp.dot",
    "smtp.reply",
    "end_attempt.before_commit",
    "outcomes.before_commit",
    "outcomes.committed",
    "take_over_lease.committed",
    None,
    None,
)
PLAN: list[Blow | Restart] = [
    Blow("intents.committed", Action.STOP),
    *(Blow(point) for point in _POINTS[:7]),
    Restart("temporal"),
    *(Blow(point) for point in _POINTS[7:]),
    *([Restart("postgres")] if _ON_POSTGRES else []),
    Blow(None, Action.END),
]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(seed=3, postgres=_ON_POSTGRES, smtp=smtp_options("20:150"), workers=3) as running:
        yield running


async def test_nothing_is_lost_or_sent_twice(world: World):
    figures = await drain_under_blows(world, await world.client(), 60, PLAN, singles=4, at_once=2)
    assert figures.wrong() == {}, figures.findings
    assert figures.missed == []
    assert 0 < figures.queued < figures.mails
    assert Counter(figures.kills_per_point) == Counter(point or "at random" for point in _POINTS)
    assert (figures.freezes, figures.ended) == (1, 1)
    assert figures.restarts == {"temporal": 1} | ({"postgres": 1} if _ON_POSTGRES else {})
