"""The rounds of ``make bench-send`` on one store: ours and its peers, in alternating order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from temporalio.client import Client

from benchmarks import bare, fairness, peer_queues, sending
from benchmarks.delaying_sink import DelayingSink
from benchmarks.figures import Figures
from benchmarks.our_queue import OurQueue, account, queue_of
from benchmarks.product import Accounts, Product, product
from tools.servers.smtp_sink import SmtpSink

Contest = Callable[[], Awaitable[float]]
_WARM_UP = 300
_LIMIT_SECONDS = 600
CELERY = {2: "celery_2_per_second", 8: "celery_8_per_second"}
"""Figures by processes."""


@dataclass(frozen=True)
class Plan:
    """How much is measured, and over how many connections."""

    rounds: int
    mails: int
    late_mails: int
    celery_mails: int
    sends: int
    connections: int

    def variables(self) -> dict[str, str]:
        """Settings of the worker that are not its defaults."""
        return {"EMAIL_CONNECTOR_QUEUE_CONNECTIONS": str(self.connections)}


@dataclass(frozen=True)
class Ground:
    """Where a contest takes place.

    Attributes:
        folder: For everything that is kept.
        sink: The server.
        late: The server that is late.
        database_url: PostgreSQL for the product; None = SQLite.
        post_office_url: The same for django-post_office.
    """

    folder: Path
    sink: SmtpSink
    late: DelayingSink
    database_url: str | None = None
    post_office_url: str | None = None


async def measure(plan: Plan, ground: Ground, *, with_celery: bool) -> Figures:
    """Measure everything on one store."""
    figures, sink, late = Figures(), ground.sink, ground.late
    accounts: Accounts = {
        "shop": (account("shop", sink.host, sink.port, plan.connections), None),
        "sender": (account("sender", sink.host, sink.port), None),
        "late": (account("late", late.host, late.port, plan.connections), None),
        **fairness.accounts(late, plan.connections),
    }
    running_product = product(
        ground.folder / "product",
        accounts,
        database_url=ground.database_url,
        variables=plan.variables(),
    )
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(running_product)
        queue = await stack.enter_async_context(queue_of(running))
        address = running.settings.temporal_address or ""
        client = await stack.enter_async_context(bare.bare_worker(address))
        await _drain(queue, "shop", sink, _WARM_UP)
        await sending.interactive(running, sink, 20, 1)
        for number in range(plan.rounds):
            contests = _contests(plan, ground, queue, with_celery=with_celery)
            for name, contest in contests if number % 2 == 0 else contests[::-1]:
                figures.note(name, await contest())
            await _single_mails(plan, running, sink, client, figures)
            alone, beside = await fairness.times(queue, late, heavy_first=number % 2 == 1)
            figures.note("small_seconds_alone", alone)
            figures.note("small_seconds_beside_heavy", beside)
    return figures


def _contests(
    plan: Plan, ground: Ground, queue: OurQueue, *, with_celery: bool
) -> list[tuple[str, Contest]]:
    sink, late, connections = ground.sink, ground.late, plan.connections
    office = peer_queues.PostOffice(ground.folder, ground.post_office_url)
    ready = partial(peer_queues.ready_bytes, connections=connections)
    contests: list[tuple[str, Contest]] = [
        ("ours_per_second", partial(_drain, queue, "shop", sink, plan.mails)),
        ("aiosmtplib_per_second", partial(ready, sink, plan.mails)),
        ("post_office_best_per_second", partial(office.best, sink, plan.mails)),
        ("post_office_default_per_second", partial(office.default, sink, plan.mails)),
        ("late_ours_per_second", partial(_drain, queue, "late", late, plan.late_mails)),
        ("late_aiosmtplib_per_second", partial(ready, late, plan.late_mails)),
    ]
    for processes, name in CELERY.items() if with_celery else ():
        folder = ground.folder / "redis"
        contests.append(
            (name, partial(peer_queues.celery, folder, sink, plan.celery_mails, processes))
        )
    return contests


async def _drain(
    queue: OurQueue, account_id: str, sink: SmtpSink | DelayingSink, mails: int
) -> float:
    """Fill our queue, which is not timed, and drain it: mails a second."""
    queue.fill(account_id, mails)
    until = sink.count() + mails
    return mails / await queue.drain(mails, lambda: sink.wait_for(until, _LIMIT_SECONDS))


async def _single_mails(
    plan: Plan, running: Product, sink: SmtpSink, client: Client, figures: Figures
) -> None:
    ours = await sending.interactive(running, sink, plan.sends, 1)
    median, slow = await bare.latencies(client, plan.sends)
    figures.note("send_p50_ms", ours["p50_ms"])
    figures.note("send_p95_ms", ours["p95_ms"])
    figures.note("bare_p50_ms", median)
    figures.note("bare_p95_ms", slow)
