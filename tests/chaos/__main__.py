"""The kill test at any length; its figures go to ``benchmarks/results/chaos.json``.

    python -m tests.chaos --rounds 10 --mails 2000 --kills 120 --times 10 --restarts 5 --resume

Every named point is hit ``--times`` times besides ``--kills`` blows at random moments; workers are
frozen at chosen points. With ``--resume``, a run that was cut goes on after its last whole round.
Exit code 1 when a figure that has to be 0 is not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.results import FOLDER, write
from tests.chaos.progress import Progress, add_up
from tests.chaos.rounds import STORES, Asked, play, rounds_of

_PROGRESS = Path(__file__).parents[2] / "var" / "chaos" / "rounds.jsonl"


def _run(asked: Asked, progress: Progress) -> dict[str, dict[str, Any]]:
    """Play what has not been played; the sums, by part."""
    for this in rounds_of(asked):
        if this.name in progress.done():
            _say(f"{this.name}: done before")
            continue
        _say(f"{this.name} on {this.store}")
        began = time.monotonic()
        figures = asyncio.run(play(asked, this))
        figures["seconds"] = round(time.monotonic() - began)
        progress.add(this.name, figures)
        _say(f"{this.name}: {json.dumps(figures)}")
    done = progress.done()
    parts: dict[str, list[dict[str, Any]]] = {}
    for this in rounds_of(asked):
        parts.setdefault(this.part, []).append(done[this.name])
    return {part: add_up(figures) for part, figures in parts.items()}


def _write(asked: Asked, parts: dict[str, dict[str, Any]]) -> None:
    """Parts that were not asked for keep the figures of the run that took them."""
    path = FOLDER / "chaos.json"
    document = json.loads(path.read_text()) if path.exists() else {}
    taken = {"asked": asdict(asked), "taken": datetime.now(UTC).isoformat(timespec="seconds")}
    write("chaos", document | {part: figures | taken for part, figures in parts.items()})


def _say(line: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
    sys.stderr.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--mails", type=int, default=500, help="to send")
    parser.add_argument("--rounds", type=int, default=3, help="of sending; 0 leaves it out")
    parser.add_argument("--mailbox", type=int, default=2000, help="mails to retrieve; 0: none")
    parser.add_argument("--kills", type=int, default=60, help="at random moments")
    parser.add_argument("--times", type=int, default=3, help="kills at each named point")
    parser.add_argument("--freezes", type=int, default=1, help="rounds of freezing")
    parser.add_argument("--restarts", type=int, default=1, help="of each server that has a store")
    parser.add_argument("--boxes", type=int, default=4, help="mailboxes at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=(*STORES, "both"), default="both")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was cut")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    logging.basicConfig(level=logging.ERROR)
    asked = Asked(**{field.name: getattr(arguments, field.name) for field in fields(Asked)})
    progress = Progress(_PROGRESS, asdict(asked), resume=arguments.resume)
    parts = _run(asked, progress)
    _write(asked, parts)
    progress.forget()
    wrong = {part: figures["wrong"] for part, figures in parts.items() if figures["wrong"]}
    missed = {part: figures["missed"] for part, figures in parts.items() if figures["missed"]}
    _say(f"wrong: {wrong}, missed: {missed}")
    return 1 if wrong or missed else 0


if __name__ == "__main__":
    sys.exit(main())
