"""Workers that drain the queue, killed and frozen at every step, lose and repeat nothing.

The same at greater length: ``make chaos``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.control import Action
from tests.chaos.crash_points import DRAINING
from tests.chaos.draining import drain_under_blows
from tests.chaos.harness import Blow, World
from tests.chaos.sending import smtp_options
from tests.stores import chosen

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

PLAN = [
    *(
        blow
        for point in DRAINING
        # Nothing is taken over unless something was lost right before.
        for blow in ([Blow("smtp.before_dot")] if point.startswith("take_over") else [])
        + [Blow(point)]
    ),
    Blow("intents.committed", Action.STOP),
    Blow("smtp.dot", Action.STOP),
    Blow(None),
    Blow(None, Action.END),
]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    options = smtp_options("20:150")
    with World(seed=5, postgres=chosen() == "postgresql", smtp=options) as running:
        yield running


async def test_kills_while_draining(world: World):
    figures = await drain_under_blows(world, await world.client(), 60, PLAN)
    assert figures.wrong() == {}, figures.findings
    assert figures.unknown == figures.unknown_accepted + figures.unknown_not_accepted
    assert figures.missed == []
    assert (figures.kills, figures.freezes, figures.ended) == (len(DRAINING) + 3, 2, 1)
