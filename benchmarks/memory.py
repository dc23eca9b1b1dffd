"""What many mails leave behind in the worker's memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks.our_queue import account, queue_of
from benchmarks.product import Accounts, product
from tools.servers.smtp_sink import SmtpSink

FIRST = 5_000


async def growth(
    folder: Path, sink: SmtpSink, mails: int, variables: dict[str, str], database_url: str | None
) -> dict[str, float]:
    """Resident memory of a new worker after ``FIRST`` mails and after ``mails``, in one drain."""
    name, found = "shop", list[float]()
    accounts: Accounts = {name: (account(name, sink.host, sink.port), None)}
    async with (
        product(folder, accounts, database_url=database_url, variables=variables) as running,
        queue_of(running) as queue,
    ):
        queue.fill(name, mails)
        before = sink.count()

        def look() -> float:
            for count in (FIRST, mails):
                moment = sink.wait_for(before + count, 600)
                found.append(running.rss_mb())
            return moment

        await asyncio.wait_for(queue.drain(mails, look), 700)
    first, last = found
    return {
        "rss_mb_first": round(first, 1),
        "rss_mb_last": round(last, 1),
        "rss_growth": round(last / first - 1, 4),
    }
