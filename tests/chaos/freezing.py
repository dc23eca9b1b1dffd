"""Many short runs, each with one worker frozen at one point."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from temporalio.client import Client

from models.account import UnknownPolicy
from tests.chaos import draining, retrieving, sending
from tests.chaos.harness import World
from tests.chaos.judging import SendFigures
from tests.chaos.progress import add_up

_SENDING = (
    "attempt.started",
    "begin_attempt.committed",
    "smtp.in_body",
    "smtp.body",
    "intend_dot.committed",
    "smtp.before_dot",
    "smtp.dot",
    "smtp.reply",
)
_RETRIEVING = (
    "take_folder.committed",
    "mails.fetched",
    "add_batch.committed",
    "acknowledge.committed",
    "begin_step.committed",
    "move.before",
    "move.after",
    "mark_handled.committed",
)


async def freeze_senders(world: World, client: Client) -> dict[str, Any]:
    """Freeze workers that send single mails and workers that drain the queue; their figures."""
    policies = (UnknownPolicy.AT_MOST_ONCE, UnknownPolicy.AT_LEAST_ONCE)
    found: list[SendFigures] = []
    for policy in policies:
        for point in _SENDING:
            found.append(await sending.freeze_one(world, client, point, policy))
        for point in draining.FROZEN:
            found.append(await draining.freeze_drain(world, client, point, policy))
    return add_up([asdict(figures) | {"wrong": figures.wrong()} for figures in found])


async def freeze_retrievers(world: World, client: Client) -> dict[str, Any]:
    """Freeze workers that retrieve."""
    found = [await retrieving.freeze_one(world, client, point) for point in _RETRIEVING]
    figures = add_up([asdict(figures) | {"wrong": figures.wrong()} for figures in found])
    return figures | {"freezes_per_point": dict(sorted(world.blows.items()))}
