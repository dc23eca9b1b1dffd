"""A worker that is told to stop, and that goes on past its intent within the grace it has."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from models.account import UnknownPolicy
from tests.chaos.control import Action
from tests.chaos.harness import RANDOM, Blow, World
from tests.chaos.judging import accepted_copies, judge
from tests.chaos.sending import Sending

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

GRACE_SECONDS, REPLY_MS = 0.2, 700
"""No reply comes within the grace."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    settings = {"shutdown_seconds": GRACE_SECONDS}
    with World(seed=1, smtp=["--delay-ms", str(REPLY_MS)], settings=settings) as running:
        yield running


@pytest.mark.parametrize(
    ("policy", "copies"), [(UnknownPolicy.AT_MOST_ONCE, 1), (UnknownPolicy.AT_LEAST_ONCE, 2)]
)
async def test_its_own_label_allows_the_second_copy(
    world: World, policy: UnknownPolicy, copies: int
):
    load = Sending(world, await world.client())
    async with world.resurrection():
        freeze = asyncio.create_task(world.strike(Blow("smtp.body", Action.STOP), seconds=60))
        await asyncio.sleep(0.1)
        mail = load.submit(1, policy)
        crash = await freeze
        assert crash is not None
        # Frozen for this moment only, so that the signal surely comes before the intent.
        world.control.note_crash(RANDOM, crash.pid, Action.END)
        os.kill(crash.pid, signal.SIGTERM)
        world.thaw(crash)
        await load.drained()
    figures = judge(world, load.mails)
    assert figures.wrong() == {}, figures.findings
    assert accepted_copies(world, mail.recipients[0]) == copies
    assert (figures.ended_in_window, figures.blows_in_window) == (1, 0)
    assert (figures.duplicates_in_window, figures.duplicates_without_blow) == (copies - 1, 0)
