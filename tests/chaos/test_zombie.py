"""A worker frozen in the middle of a step, thawed when another one has done its work."""

from __future__ import annotations

import pytest

from models.account import UnknownPolicy
from tests.chaos import retrieving, sending
from tests.chaos.harness import World

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

ONCE, RESEND = UnknownPolicy.AT_MOST_ONCE, UnknownPolicy.AT_LEAST_ONCE


@pytest.mark.parametrize(
    ("point", "policy", "copies"),
    [
        ("attempt.started", RESEND, 1),
        ("smtp.in_body", RESEND, 1),
        ("smtp.body", RESEND, 1),
        ("intend_dot.committed", ONCE, 0),
        ("smtp.before_dot", ONCE, 1),
        ("smtp.before_dot", RESEND, 2),
    ],
)
async def test_sending(world: World, point: str, policy: UnknownPolicy, copies: int):
    figures = await sending.freeze_one(world, await world.client(), point, policy)
    assert figures.wrong() == {}, figures.findings
    assert figures.duplicates_in_window == max(0, copies - 1)
    assert figures.unknown == (policy is ONCE)
    assert figures.missed == []


@pytest.mark.parametrize(
    "point",
    [
        "take_folder.committed",
        "mails.fetched",
        "add_batch.committed",
        "begin_step.committed",
        "move.before",
        "move.after",
    ],
)
async def test_retrieving(world: World, point: str):
    figures = await retrieving.freeze_one(world, await world.client(), point)
    assert figures.wrong() == {}, figures.findings
    assert figures.missed == []
