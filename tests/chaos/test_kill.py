"""Workers killed at every step, and at random, lose and repeat nothing.

The same at greater length: ``python -m tests.chaos --mails 500 --mailbox 2000 --kills 60``.
"""

from __future__ import annotations

import pytest

from tests.chaos.crash_points import RETRIEVING, SENDING
from tests.chaos.harness import World, blows
from tests.chaos.retrieving import retrieve_under_blows
from tests.chaos.sending import send_under_blows

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


async def test_kills_while_sending(world: World):
    plan = blows(SENDING, 1, 4, world.random)
    figures = await send_under_blows(world, await world.client(), 80, plan)
    assert figures.wrong() == {}, figures.findings
    assert figures.unknown == figures.unknown_accepted + figures.unknown_not_accepted
    assert figures.missed == []


async def test_kills_while_retrieving(world: World):
    plan = blows(RETRIEVING, 1, 4, world.random)
    figures = await retrieve_under_blows(world, await world.client(), 240, plan, boxes=4)
    assert figures.wrong() == {}, figures.findings
    assert figures.missed == []
