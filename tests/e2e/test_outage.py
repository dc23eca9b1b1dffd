"""A server that is away for 24 hours, in skipped time: mails that workflows send.

Each workflow has a clock of its own, and a server that is away by it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle
from temporalio.testing import TimeSkipper

from models.names import ActivityName, TaskQueue, WorkflowType
from models.settings import Settings
from models.tables import Attempt, Delivery
from tests.e2e.conftest import MakeConnector
from tests.e2e.harness import Connector, fresh
from tests.smtp_server import Fault, SmtpServer

OUTAGE = timedelta(hours=24)
LONGEST_GAP = timedelta(seconds=4000)
MAILS = 2


@pytest.fixture(scope="module")
def connector(make_connector: MakeConnector) -> Connector:
    """With the delays between attempts that are the preset.

    A wish to slow down is short, for it is kept by the real clock.
    """
    return make_connector(
        retry_delays_seconds=Settings.model_fields["retry_delays_seconds"].default,
        slow_down_seconds=0.1,
        max_slow_down_seconds=0.2,
    )


async def away(skipper: TimeSkipper, handle: WorkflowHandle[Any, Any], port: int) -> SmtpServer:
    """Refuse connections and mails in turns for 24 h by the workflow's clock; then be well."""
    start = await skipper.get_current_time(handle)
    # None past the dot: a server that goes away there leaves the outcome unknown, rightly.
    stages = ["mail", "data", "rcpt", "banner"]
    while await skipper.get_current_time(handle) < start + OUTAGE:
        stages.append(stages.pop(0))
        async with SmtpServer(port=port, faults=[Fault(stages[0], "4xx")]):
            await asyncio.sleep(0.3)
        await asyncio.sleep(0.2)  # nobody listens
    return SmtpServer(port=port)


async def tries(handle: WorkflowHandle[Any, Any]) -> list[datetime]:
    """When attempts began, by the workflow's clock."""
    return [
        event.event_time.ToDatetime()
        async for event in handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
        and event.activity_task_scheduled_event_attributes.activity_type.name
        == ActivityName.TRANSMIT
    ]


async def one(connector: Connector, skipper: TimeSkipper) -> Counter[str]:
    """Send a mail over an outage; returns what its failed attempts came upon."""
    async with SmtpServer() as server:
        port = server.port
    outgoing = {"host": "127.0.0.1", "port": port, "security": "none", "login": "none"}
    account = connector.add_account(outgoing=outgoing)
    message = {"to": "r@example.net", "subject": "x", "plain_body": "x"}
    handle = await skipper.client.start_workflow(
        WorkflowType.SEND_EMAIL,
        {"account": account, "message": message},
        id=fresh("outage/"),
        task_queue=TaskQueue.ORCHESTRATION,
    )
    async with await away(skipper, handle, port) as back:
        result = await handle.result()
        assert (result["status"], len(back.accepted)) == ("sent", 1), result
    times = await tries(handle)
    assert times[-1] - times[0] >= OUTAGE - LONGEST_GAP, "it was away all the while"
    assert max(b - a for a, b in pairwise(times)) <= LONGEST_GAP
    (row,) = connector.rows(Delivery, Delivery.message_id == result["message_id"])
    attempts = connector.rows(Attempt, Attempt.delivery_id == row.id)
    # A step that comes upon a wish to slow down tries nothing, and is no attempt.
    assert row.attempts == len(attempts) <= len(times)
    return Counter(str(a.code or a.error_type) for a in attempts if a.outcome == "not_sent")


async def test_24_hours_away_lose_no_mail_that_a_workflow_sends(connector: Connector) -> None:
    skipper = TimeSkipper(await connector.client())
    async with asyncio.timeout(240):
        met = await asyncio.gather(*(one(connector, skipper) for _ in range(MAILS)))
    seen = sum(met, Counter[str]())
    assert seen["451"] or seen["421"], seen
    assert seen["ConnectionFailed"], seen
