"""The kill test at any length; its figures go to ``benchmarks/results/chaos.json``.

    python -m tests.chaos --mails 500 --mailbox 2000 --kills 60 --seed 1

Every named point is hit ``--times`` times besides ``--kills`` blows at random moments; then workers
are frozen at chosen points. Exit code 1 when a figure that has to be 0 is not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from temporalio.client import Client

from benchmarks.results import write
from models.account import UnknownPolicy
from tests.chaos import retrieving, sending
from tests.chaos.crash_points import RETRIEVING, SENDING
from tests.chaos.harness import World, blows
from tests.chaos.judging import SendFigures

_FROZEN_SENDING = (
    "attempt.started",
    "begin_attempt.committed",
    "smtp.in_body",
    "smtp.body",
    "intend_dot.committed",
    "smtp.before_dot",
    "smtp.dot",
    "smtp.reply",
)
_FROZEN_RETRIEVING = (
    "take_folder.committed",
    "mails.fetched",
    "add_batch.committed",
    "acknowledge.committed",
    "begin_step.committed",
    "move.before",
    "move.after",
    "mark_handled.committed",
)


@dataclass
class _Frozen:
    """Figures of many short runs, each with one frozen worker."""

    freezes: int
    wrong: Counter[str]
    duplicates_in_window: int
    findings: list[str]


async def _freeze(world: World, client: Client, times: int) -> _Frozen:
    total = _Frozen(0, Counter(), 0, [])
    policies = (UnknownPolicy.AT_MOST_ONCE, UnknownPolicy.AT_LEAST_ONCE)
    for _ in range(times):
        for point in _FROZEN_SENDING:
            for policy in policies:
                sent = await sending.freeze_one(world, client, point, policy)
                total.duplicates_in_window += sent.duplicates_in_window
                _add(total, point, sent)
        for point in _FROZEN_RETRIEVING:
            _add(total, point, await retrieving.freeze_one(world, client, point))
    return total


def _add(total: _Frozen, point: str, figures: SendFigures | retrieving.RetrieveFigures) -> None:
    total.freezes += figures.kills
    total.wrong.update(figures.wrong())
    total.findings += [f"{point}: {finding}" for finding in figures.findings]
    _say(f"frozen at {point}: {figures.wrong() or 'well'}")


async def _run(world: World, arguments: argparse.Namespace) -> dict[str, Any]:
    client = await world.client()
    in_sending = arguments.kills // 2
    plan = blows(SENDING, arguments.times, in_sending, world.random)
    _say(f"sending {arguments.mails} mails under {len(plan)} blows")
    sent = await sending.send_under_blows(world, client, arguments.mails, plan)
    _say(json.dumps(asdict(sent)))
    plan = blows(RETRIEVING, arguments.times, arguments.kills - in_sending, world.random)
    _say(f"retrieving {arguments.mailbox} mails under {len(plan)} blows")
    got = await retrieving.retrieve_under_blows(
        world, client, arguments.mailbox, plan, boxes=arguments.boxes
    )
    _say(json.dumps(asdict(got)))
    kills = dict(sorted(world.blows.items()))
    world.blows.clear()
    _say("freezing")
    frozen = await _freeze(world, client, arguments.freezes)
    return {
        "send": asdict(sent),
        "retrieve": asdict(got),
        "frozen": asdict(frozen) | {"freezes_per_point": dict(sorted(world.blows.items()))},
        "kills_per_point": kills,
        "wrong": sent.wrong() | got.wrong() | dict(frozen.wrong),
        "missed": sent.missed + got.missed,
    }


def _say(line: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
    sys.stderr.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--mails", type=int, default=500, help="to send")
    parser.add_argument("--mailbox", type=int, default=2000, help="mails to retrieve, or more")
    parser.add_argument("--kills", type=int, default=60, help="at random moments")
    parser.add_argument("--times", type=int, default=3, help="kills at each named point")
    parser.add_argument("--freezes", type=int, default=1, help="rounds of freezing")
    parser.add_argument("--boxes", type=int, default=4, help="mailboxes at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", action="store_true", help="instead of SQLite")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    logging.basicConfig(level=logging.ERROR)
    began = time.monotonic()
    with World(arguments.seed, postgres=arguments.postgres, smtp=sending.smtp_options()) as world:
        figures = asyncio.run(_run(world, arguments))
    asked = vars(arguments)
    document = {
        "asked": asked,
        "seconds": round(time.monotonic() - began),
        "store": "postgresql" if arguments.postgres else "sqlite",
        **figures,
    }
    write("chaos", document)
    _say(f"wrong: {figures['wrong']}, missed: {figures['missed']}")
    return 1 if figures["wrong"] or figures["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
