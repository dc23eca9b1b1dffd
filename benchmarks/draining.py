"""``make bench-send``: draining the queue beside its peers; ``--help`` lists what can be asked.

On each store: queued mails to the last one taken by the server, against aiosmtplib with ready
bytes, django-post_office and Celery; the same on a server that is late; single mails against a
workflow that does nothing; small accounts beside a heavy one; and, asked for, a worker's memory.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import memory, results
from benchmarks.contest import CELERY, Ground, Plan, measure
from benchmarks.delaying_sink import DelayingSink
from benchmarks.figures import Ratios
from benchmarks.peers import environment
from tools.servers.postgres import Postgres
from tools.servers.smtp_sink import SmtpSink

_STORES = ("sqlite", "postgresql")
_DELAY_MS = 100
_RATIOS = Ratios(
    at_least={
        "ratio_aiosmtplib": ("ours_per_second", "aiosmtplib_per_second"),
        "ratio_post_office_best": ("ours_per_second", "post_office_best_per_second"),
        "ratio_post_office_default": ("ours_per_second", "post_office_default_per_second"),
        "ratio_celery": ("ours_per_second", "celery_per_second"),
        "latency_ratio_aiosmtplib": ("late_ours_per_second", "late_aiosmtplib_per_second"),
    },
    at_most={
        "interactive_ratio_p50": ("send_p50_ms", "bare_p50_ms"),
        "interactive_ratio_p95": ("send_p95_ms", "bare_p95_ms"),
        "fairness": ("small_seconds_beside_heavy", "small_seconds_alone"),
    },
    peaks=("rss_growth",),
)


async def run(folder: Path, plan: Plan, stores: list[str], memory_mails: int) -> dict[str, Any]:
    """Measure on each store; returns the ratios, the worse of the stores, and all medians."""
    load = os.getloadavg()[0]
    environment.python()
    by_store: dict[str, dict[str, float]] = {}
    celery: dict[str, list[float]] = {}
    with ExitStack() as stack:
        sink = stack.enter_context(SmtpSink(folder / "sink"))
        late = stack.enter_context(DelayingSink(folder / "late", delay_ms=_DELAY_MS))
        postgres: Postgres | None = None
        if "postgresql" in stores:
            postgres = stack.enter_context(Postgres(folder / "postgres"))
        for store in stores:
            database = postgres if store == "postgresql" else None
            ground = Ground(
                folder / store,
                sink,
                late,
                database.create_database("ours") if database else None,
                database.create_database("post_office") if database else None,
            )
            figures = await measure(plan, ground, with_celery=not celery)
            # It has no database: its figures are those of all stores.
            celery = celery or figures.of(*CELERY.values())
            figures.adopt(celery)
            by_store[store] = _summary(figures.medians())
            if memory_mails:
                url = database.create_database("memory") if database else None
                grown = await memory.growth(
                    folder / store / "memory", sink, memory_mails, plan.variables(), url
                )
                by_store[store].update(grown)
    return {
        **_RATIOS.worst(by_store),
        "asked": {**vars(plan), "delay_ms": _DELAY_MS, "memory_mails": memory_mails},
        **by_store,
        "peers": environment.versions(),
        "load_before": round(load, 2),
    }


def _summary(middle: dict[str, float]) -> dict[str, float]:
    """Ratios and medians of a store."""
    celery = [value for name, value in middle.items() if name in CELERY.values()]
    if celery:
        middle["celery_per_second"] = max(celery)
    return {**_RATIOS.of(middle), **middle}


def main() -> None:
    """Measure and write ``benchmarks/results/send.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.draining", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mails", type=int, default=5000, help="queued, for each contestant")
    parser.add_argument("--late-mails", type=int, default=1000, help="for the server that is late")
    parser.add_argument("--celery-mails", type=int, default=2000)
    parser.add_argument("--sends", type=int, default=100, help="single mails in a round")
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--store", choices=_STORES, action="append", help="default: both")
    parser.add_argument(
        "--memory", type=int, default=0, metavar="MAILS", help="such as 50000; a minute or two"
    )
    options = parser.parse_args()
    plan = Plan(
        rounds=options.rounds,
        mails=options.mails,
        late_mails=options.late_mails,
        celery_mails=min(options.celery_mails, options.mails),
        sends=options.sends,
        connections=options.connections,
    )
    # Short and open to the servers' own users. Kept until the end of all rounds: creating files
    # soon after deleting many is slow on some file systems.
    folder = Path(tempfile.mkdtemp(prefix="ec-", dir="/tmp"))
    folder.chmod(0o755)
    figures = asyncio.run(run(folder, plan, options.store or list(_STORES), options.memory))
    path = results.write("send", figures)
    sys.stderr.write(f"written to {path}\n")


if __name__ == "__main__":
    main()
