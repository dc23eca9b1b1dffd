"""``make bench-retrieve``: a large mailbox beside its peers; ``--help`` lists what can be asked.

On each store: all mails fetched, parsed, sanitised, stored and handed to a callback, against mbsync
at its defaults (which copies), imap_tools in bulk with SQLite (which parses and sanitises too) and
a raw fetch (which keeps nothing); then the same run again, when there is nothing new, and a run
over a mailbox of very many mails that has nothing new either.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import crowd, receiving, results
from benchmarks.figures import Figures, Ratios
from benchmarks.peers import environment
from benchmarks.product import Accounts, Product, product
from models.account import AccountSettings
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot
from tools.servers.postgres import Postgres

_STORES = ("sqlite", "postgresql")
_USER = "reader"
_MAIL_BYTES = 16_000
_RATIOS = Ratios(
    at_least={
        "ratio_mbsync": ("ours_per_second", "mbsync_per_second"),
        "ratio_imap_tools_bulk": ("ours_per_second", "imap_tools_bulk_per_second"),
        "ratio_raw_fetch": ("ours_per_second", "raw_fetch_per_second"),
    },
    at_most={"noop_ratio_mbsync": ("noop_ms", "mbsync_noop_ms")},
    peaks=("noop_ms", "crowd_noop_ms", "peak_rss_mb"),
)


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    mails: int
    batch_size: int
    crowd: int


def _account(dovecot: Dovecot, name: str, user: str, plan: Plan) -> AccountSettings:
    incoming = {
        "protocol": "imap",
        "host": "127.0.0.1",
        "port": dovecot.imap_port,
        "security": "none",
        "username": user,
    }
    return AccountSettings.model_validate(
        {
            "name": name,
            "email_address": f"{user}@example.net",
            "incoming": incoming,
            "retrieval": {"batch_size": plan.batch_size},
        }
    )


class _Contest:
    """The rounds on one store."""

    def __init__(self, plan: Plan, folder: Path, dovecot: Dovecot, running: Product) -> None:
        self._plan = plan
        self._folder = folder
        self._dovecot = dovecot
        self._running = running
        self.figures = Figures()

    async def run(self) -> None:
        for number in range(self._plan.rounds):
            contestants: list[Callable[[int], Awaitable[None]]] = [
                self._ours,
                self._mbsync,
                self._imap_tools,
                self._raw,
            ]
            # Who comes first has the colder caches.
            for contestant in contestants if number % 2 == 0 else reversed(contestants):
                await contestant(number)
            if self._plan.crowd:
                seconds = await crowd.nothing_new(self._running, self._dovecot, crowd.USER)
                self.figures.note("crowd_noop_ms", seconds * 1000)
        self.figures.note("peak_rss_mb", self._running.peak_rss_mb())

    async def _ours(self, number: int) -> None:
        account = f"{_USER}{number}"
        count, seconds = await receiving.replicate(self._running, account, "default")
        self._copied("ours", count, seconds)
        none, seconds = await receiving.replicate(self._running, account, "default")
        if none:
            raise RuntimeError(f"{none} mails came twice")
        self.figures.note("noop_ms", seconds * 1000)

    async def _mbsync(self, number: int) -> None:
        copy = self._folder / f"mbsync{number}"
        again = partial(receiving.mbsync, self._dovecot, _USER, copy)
        seconds = await receiving.off_loop(again)
        box = copy / "mail" / "INBOX"
        count = sum(1 for name in ("cur", "new") for _ in (box / name).iterdir())
        self._copied("mbsync", count, seconds)
        self.figures.note("mbsync_noop_ms", await receiving.off_loop(again) * 1000)

    async def _imap_tools(self, number: int) -> None:
        copy = self._folder / f"imap_tools{number}"
        copy.mkdir()
        dovecot = self._dovecot
        arguments = dovecot.imap_port, _USER, dovecot.password, copy
        found = await environment.answer("imap_tools_loop", *arguments, extra={})
        self._copied("imap_tools_bulk", found["mails"], found["seconds"])

    async def _raw(self, _number: int) -> None:
        seconds = await receiving.off_loop(receiving.raw_fetch, self._dovecot, _USER)
        self._copied("raw_fetch", self._plan.mails, seconds)

    def _copied(self, name: str, count: int, seconds: float) -> None:
        if count != self._plan.mails:
            raise RuntimeError(f"{name}: {count} of {self._plan.mails} mails")
        self.figures.note(f"{name}_per_second", count / seconds)


async def run(folder: Path, plan: Plan, stores: list[str]) -> dict[str, Any]:
    """Measure on each store; returns the ratios, the worse of the stores, and all medians."""
    environment.python()
    by_store: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        dovecot = stack.enter_context(Dovecot(folder / "dovecot", TestCA(folder / "ca").issue()))
        size = receiving.fill(dovecot, _USER, plan.mails, _MAIL_BYTES)
        await receiving.off_loop(receiving.raw_fetch, dovecot, _USER)  # Dovecot makes its index
        accounts: Accounts = {
            f"{_USER}{n}": (_account(dovecot, f"{_USER}{n}", _USER, plan), dovecot.password)
            for n in range(plan.rounds)
        }
        if plan.crowd:
            crowd.fill(dovecot, plan.crowd)
            settings = _account(dovecot, crowd.USER, crowd.USER, plan)
            accounts[crowd.USER] = settings, dovecot.password
        for store in stores:
            url: str | None = None
            if store == "postgresql":
                url = stack.enter_context(Postgres(folder / store)).create_database("ours")
            place = folder / f"{store}-contest"
            place.mkdir()
            async with product(place, accounts, database_url=url) as running:
                contest = _Contest(plan, place, dovecot, running)
                await contest.run()
            middle = contest.figures.medians()
            by_store[store] = {**_RATIOS.of(middle), **middle}
    return {
        **_RATIOS.worst(by_store),
        "asked": {**vars(plan), "megabytes": round(size / 1e6, 1)},
        **by_store,
        "peers": environment.versions(),
    }


def main() -> None:
    """Measure and write ``benchmarks/results/retrieve.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieving", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mails", type=int, default=5000)
    parser.add_argument("--batch-size", type=int, default=200, help="mails in a batch")
    parser.add_argument("--store", choices=_STORES, action="append", help="default: both")
    parser.add_argument(
        "--crowd", type=int, default=100_000, help="mails in a mailbox that has nothing new"
    )
    options = parser.parse_args()
    plan = Plan(options.rounds, options.mails, options.batch_size, options.crowd)
    # Short and open to the servers' own users. Kept until the end of all rounds: creating files
    # soon after deleting many is slow on some file systems.
    folder = Path(tempfile.mkdtemp(prefix="ec-", dir="/tmp"))
    folder.chmod(0o755)
    figures = asyncio.run(run(folder, plan, options.store or list(_STORES)))
    path = results.write("retrieve", figures)
    sys.stderr.write(f"written to {path}\n")


if __name__ == "__main__":
    main()
