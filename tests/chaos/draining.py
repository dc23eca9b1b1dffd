"""Queued mails, drained again and again while workers die, judged by what the SMTP server took.

Others that are sent at once, each by its own workflow, may keep them company.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from itertools import count
from uuid import uuid4

from sqlalchemy import func
from sqlmodel import col, select
from temporalio.client import Client, WorkflowFailureError

from activities.store import ledger
from models.account import UnknownPolicy
from models.delivery import MessageStatus
from models.errors import ConnectorError
from models.names import WorkflowType
from models.queue import SendQueuedEmailsInput, SendQueuedEmailsResult
from models.tables import Delivery, Message
from starter.schedules import Schedules
from tests.chaos.control import Action
from tests.chaos.dealing import deal
from tests.chaos.harness import Blow, Restart, World
from tests.chaos.judging import SendFigures, judge
from tests.chaos.sending import Sending
from tests.chaos.workflows import patiently, run_workflow

FROZEN = (
    "lease.committed",
    "smtp.in_body",
    "intents.committed",
    "smtp.before_dot",
    "smtp.dot",
    "smtp.reply",
    "outcomes.committed",
    "renew.committed",
)
"""Where a worker that sleeps past its lease has most to do wrong."""

ACCOUNTS = 2
_MAX_CONNECTIONS = 5
"""Of an account: two drains, which want three each, do not both get them."""
BACKLOG = 40
"""Mails that wait while blows fall: more than there are connections."""
_DRAINS = 3
_PAUSE_SECONDS = 1.0
"""Between one drain's end and the next one."""
_LOOK_SECONDS = 0.3
_EMPTY_SECONDS = 600
_OPEN = (MessageStatus.QUEUED, MessageStatus.SENDING)


async def drain_under_blows(
    world: World,
    client: Client,
    mails: int,
    plan: Sequence[Blow | Restart],
    *,
    backlog: int = BACKLOG,
    singles: int = 0,
    policy: UnknownPolicy | None = None,
    at_once: int = 1,
    drains: int = _DRAINS,
) -> SendFigures:
    """Hand in ``mails`` mails, more while blows are left to be dealt, drain them all, and judge.

    ``backlog`` of them wait in the queue at a time; beside them, ``singles`` are on their way.
    ``at_once`` blows wait for their workers. A drain whose worker dies again and again is tried
    ever more seldom: ``drains`` of them run, so that there is always one at work.
    """
    queued = Sending(
        world, client, queued=True, accounts=ACCOUNTS, max_connections=_MAX_CONNECTIONS
    )
    single = Sending(world, client)

    def handed_in() -> int:
        return len(queued.mails) + len(single.mails)

    async with world.resurrection(), _drains(client, drains) as failures:
        feeding = [asyncio.create_task(_feed(world, queued, backlog, policy))]
        if singles:
            feeding.append(asyncio.create_task(_send(single, singles, policy, mails)))
        dealt = await deal(world, plan, before=lambda _: None, at_once=at_once)
        while handed_in() < mails:  # noqa: ASYNC110 - the feeders look as seldom
            await asyncio.sleep(_LOOK_SECONDS)
        for feeder in feeding:
            feeder.cancel()
        for ended in await asyncio.gather(*feeding, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
        await queued.drained()
        if singles:
            await single.drained()
        left = await _emptied(world, queued)
    findings = failures + _reread(world, queued)
    figures = judge(world, queued.mails + single.mails)
    figures.queued = len(queued.mails)
    figures.findings += findings
    figures.unlabelled += len(findings)
    if left:
        figures.findings.append(f"lost: {left} queued mails are not settled")
        figures.lost += left
    dealt.enter(figures)
    return figures


async def freeze_drain(
    world: World, client: Client, point: str, policy: UnknownPolicy
) -> SendFigures:
    """Freeze a worker past its leases while it drains a few mails, and let it go on."""
    plan = [Blow(point, Action.STOP)]
    return await drain_under_blows(world, client, 8, plan, backlog=8, policy=policy)


async def _feed(world: World, load: Sending, backlog: int, policy: UnknownPolicy | None) -> None:
    """Keep so many mails waiting."""
    for number in count():
        while _unsettled(world, load) >= backlog:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(_LOOK_SECONDS)
        load.submit(number, policy, may_repeat=True)


async def _send(load: Sending, at_once: int, policy: UnknownPolicy | None, mails: int) -> None:
    """Keep so many single mails on their way."""
    for number in count():
        while load.running >= at_once:  # noqa: ASYNC110 - they end in other tasks
            await asyncio.sleep(_LOOK_SECONDS)
        # Whoever watches a mail of another workflow looks ever more seldom: not at the end.
        load.submit(number, policy, may_repeat=number < mails // 8)


def _unsettled(world: World, load: Sending) -> int:
    """Mails that are handed in and not settled; all of them, while the store is away."""
    handed = sum(1 for mail in load.mails if not mail.results)
    with suppress(ConnectorError):
        return handed + _open(world, load)
    return len(load.mails) + 1


def _open(world: World, load: Sending) -> int:
    with world.store.database.read() as session:
        return session.exec(
            select(func.count())
            .select_from(Delivery)
            .where(
                col(Delivery.account_id).in_(load.accounts),
                col(Delivery.state).in_(_OPEN),
                col(Delivery.held_reason).is_(None),
            )
        ).one()


async def _emptied(world: World, load: Sending) -> int:
    """Wait until the queue is empty, but not for ever; returns how many mails are left."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_EMPTY_SECONDS):
            while _open(world, load):  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(_LOOK_SECONDS)
    return _open(world, load)


@asynccontextmanager
async def _drains(client: Client, number: int) -> AsyncIterator[list[str]]:
    """Start drains again and again, by hand and by a schedule; yields how any of them failed."""
    failures: list[str] = []
    over = asyncio.Event()

    async def drain() -> None:
        workflow_id = f"chaos-drain/{uuid4()}"
        try:
            await run_workflow(
                client,
                WorkflowType.SEND_QUEUED_EMAILS,
                SendQueuedEmailsInput(),
                workflow_id,
                SendQueuedEmailsResult,
            )
        except WorkflowFailureError as error:
            failures.append(f"{workflow_id}: {error.cause!r}")

    async def keep_draining() -> None:
        while not over.is_set():
            await drain()
            await asyncio.sleep(_PAUSE_SECONDS)

    schedules = Schedules(client)
    await patiently(lambda: schedules.drain(timedelta(seconds=2), None))
    tasks = [asyncio.create_task(keep_draining()) for _ in range(number)]
    try:
        yield failures
    finally:
        over.set()
        await patiently(lambda: schedules.stop_drain(None))
        await asyncio.gather(*tasks)


def _reread(world: World, load: Sending) -> list[str]:
    """Put what became of the mails in the place of what was said when they were queued."""
    findings: list[str] = []
    with world.store.database.read() as session:
        for mail in load.mails:
            for number, queued in enumerate(mail.results):
                row = session.exec(
                    select(Delivery).where(Delivery.message_id == queued.message_id)
                ).one()
                report = ledger.report(session, row.id)
                mail.results[number] = queued.model_copy(
                    update={"status": report.status, "recipients": report.recipients}
                )
                message = session.exec(select(Message).where(Message.id == row.message_id)).one()
                said = {row.state, message.status, report.status}
                if len(said) > 1:
                    findings.append(f"unlabelled: mail {mail.number} is all of {sorted(said)}")
    return findings
