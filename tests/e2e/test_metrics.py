"""What a worker tells Prometheus is what stands in its database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import func
from sqlmodel import col, select
from temporalio.client import Client, WorkflowFailureError

from models import metrics
from models.metrics import METRICS, MetricKind
from models.names import TaskQueue, WorkflowType
from models.tables import Attempt, CallbackDelivery, ContentRow, Delivery, Message, Recipient
from tests.e2e.conftest import add_namespace, incoming
from tests.e2e.harness import Connector, connector_settings, execute, fresh
from tests.e2e.mails import mail
from tests.e2e.processes import child, python
from tests.e2e.scrape import Page
from tests.smtp_server import Fault, SmtpServer
from tests.stores import Stores, store_environment
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot
from tools.servers.process import free_port
from tools.temporal import DevServer

MAILS = 500
GONE = "gone@example.net"
DEAF = "deaf@example.net"


class Watched:
    """A worker process with a page of metrics, and its store."""

    def __init__(self, connector: Connector, address: str) -> None:
        self.connector = connector
        self.address = address

    def page(self) -> Page:
        return Page(self.address)

    def counts(self, *columns: Any) -> dict[tuple[str, ...], int]:
        """Rows by the values of columns, as the labels of a metric would have them."""
        with self.connector.store.database.read() as session:
            rows = session.connection().execute(
                sqlalchemy.select(*columns, func.count()).group_by(*columns)
            )
            return {tuple(value or "" for value in row[:-1]): row[-1] for row in rows}


@pytest.fixture
def watched(
    stores: Stores, tmp_path: Path, temporal_server: DevServer, test_ca: TestCA
) -> Iterator[Watched]:
    namespace = add_namespace(temporal_server)
    connector = Connector(
        connector_settings(
            stores, tmp_path, temporal_server.address, namespace, ca_file=test_ca.ca_file
        )
    )
    address = f"127.0.0.1:{free_port()}"
    environment = {
        **store_environment(connector.settings),
        "EMAIL_CONNECTOR_TEMPORAL_ADDRESS": temporal_server.address,
        "EMAIL_CONNECTOR_TEMPORAL_NAMESPACE": namespace,
        "EMAIL_CONNECTOR_CA_FILE": str(test_ca.ca_file),
        "EMAIL_CONNECTOR_RETRY_DELAYS_SECONDS": "[0.3]",
        "EMAIL_CONNECTOR_INLINE_CONTENT_BYTES": "2000",
        "EMAIL_CONNECTOR_METRICS_ADDRESS": address,
    }
    with child(
        python("worker.py"), tmp_path / "worker.log", ready="worker ready", environment=environment
    ):
        yield Watched(connector, address)
    connector.store.close()


async def send(client: Client, account: str, number: int) -> None:
    to = [f"r{number}@example.net"]
    if number % 10 == 3:
        to.append(GONE)
    if number % 10 == 7:
        to = [GONE]
    if number % 50 == 11:
        to = [DEAF]
    message = {"to": to, "subject": f"mail {number}", "content": "<p>x</p>" * (number % 3 * 200)}
    message["content"] = message["content"] or "<p>x</p>"
    await client.execute_workflow(
        WorkflowType.SEND_EMAIL,
        {"account": account, "message": message},
        id=fresh("test/"),
        task_queue=TaskQueue.ORCHESTRATION,
    )


async def test_a_run_of_500_mails_is_counted_as_it_stands_in_the_database(
    watched: Watched,
) -> None:
    connector = watched.connector
    client = await connector.client()
    # 4xx at several places (tried again), connections lost before and after the dot, 5xx for one
    # recipient, one that is always busy.
    faults = [
        Fault("mail", "4xx", rate=0.03),
        Fault("data", "4xx", rate=0.02),
        Fault("body", "rst", rate=0.02),
        Fault("reply", "rst", rate=0.04),
    ]
    recipients: dict[str, int | str] = {GONE: 550, DEAF: 451}
    async with SmtpServer(faults=faults, recipients=recipients) as smtp:
        account = connector.add_account(
            outgoing={"host": "127.0.0.1", "port": smtp.port, "security": "none", "login": "none"},
            max_send_attempts=3,
        )
        gate = asyncio.Semaphore(40)

        async def one(number: int) -> None:
            async with gate:
                await send(client, account, number)

        await asyncio.gather(*(one(number) for number in range(MAILS)))
        accepted = sum(len(each.rcpts) for each in smtp.accepted)

    page = watched.page()
    # Not vacuous: every kind of end has happened.
    recipients_by_state = page.by(metrics.RECIPIENTS, "state")
    assert recipients_by_state.keys() == {("sent",), ("failed",), ("unknown",)}
    assert page.by(metrics.ATTEMPTS, "outcome", "error_type").keys() >= {
        ("sent", ""),
        ("not_sent", "ServerUnavailable"),
        ("unknown", "ConnectionLost"),
    }

    assert recipients_by_state == watched.counts(Recipient.state)
    assert page.by(metrics.DELIVERIES, "status") == watched.counts(Delivery.state)
    assert page.by(metrics.ATTEMPTS, "outcome", "error_type") == watched.counts(
        Attempt.outcome, Attempt.error_type
    )
    assert page.value(metrics.DELIVERIES) == MAILS
    assert recipients_by_state["sent",] <= accepted  # the rest of them is unknown

    # One final reply for each acceptance or refusal, one commit for at least every attempt's end.
    phases = page.by(metrics.SMTP_PHASE, "phase", suffix="_count")
    assert phases.keys() == {("connect",), ("auth",), ("envelope",), ("body",), ("final_reply",)}
    sent = watched.counts(Attempt.outcome)["sent",]
    assert phases["final_reply",] == sent
    assert phases["envelope",] <= page.value(metrics.ATTEMPTS)
    assert phases["connect",] < phases["envelope",]  # connections are kept
    writes = page.value(metrics.COMMIT_GROUP, "_sum")
    assert writes >= page.value(metrics.ATTEMPTS) * 2
    assert page.value(metrics.COMMIT_GROUP, "_count") == page.value(
        metrics.COMMIT_DURATION, "_count"
    )

    with connector.store.database.read() as session:
        sizes = {
            "database": session.exec(
                select(func.sum(ContentRow.size)).where(col(ContentRow.data).is_not(None))
            ).one(),
            "blob": session.exec(
                select(func.sum(ContentRow.size)).where(col(ContentRow.data).is_(None))
            ).one(),
        }
    assert page.by(metrics.CONTENT_BYTES, "place") == {(k,): v for k, v in sizes.items()}
    assert "temporal_activity_execution_latency_seconds" in page.text  # the SDK's own, beside ours


async def test_the_queue_is_told_from_the_database(watched: Watched) -> None:
    connector = watched.connector
    client = await connector.client()
    account = connector.add_account(
        outgoing={
            "host": "127.0.0.1",
            "port": free_port(),
            "security": "none",
            "login": "none",
        }
    )
    handles = [
        await client.start_workflow(
            WorkflowType.SEND_EMAIL,
            {"account": account, "message": {"to": "a@example.net", "content": "x"}},
            id=fresh("test/"),
            task_queue=TaskQueue.ORCHESTRATION,
        )
        for _ in range(3)
    ]

    def waiting() -> float:
        by_status = watched.page().by(metrics.QUEUE_DEPTH, "status")
        return by_status.get(("queued",), 0) + by_status.get(("sending",), 0)

    async with asyncio.timeout(60):
        while waiting() != 3 or watched.page().value(metrics.QUEUE_OLDEST) <= 0:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    for handle in handles:
        await handle.cancel()
    for handle in handles:
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    assert watched.page().by(metrics.RECIPIENTS, "state") == {("cancelled",): 3}
    async with asyncio.timeout(60):
        while waiting() or watched.page().value(metrics.QUEUE_OLDEST):  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def test_replication_is_counted_as_it_stands_in_the_database(
    watched: Watched, dovecot: Dovecot
) -> None:
    connector, user = watched.connector, fresh("user")
    client = await connector.client()
    for number in range(7):
        dovecot.deliver(user, mail(f"mail {number}", text="x" * 1000 * number))
    account = connector.add_account(
        password=dovecot.password, incoming=incoming(dovecot, username=user)
    )
    callback = {
        "workflow": "Nobody",
        "task_queue": fresh("nobody"),
        "execution_timeout_seconds": 1,
    }
    with pytest.raises(WorkflowFailureError):
        await execute(
            client,
            WorkflowType.RETRIEVE_EMAIL_MESSAGES,
            {"account": account, "batch_size": 3, "on_email_fetch": callback},
        )
    request = {"account": account, "batch_size": 3}
    result = await execute(client, WorkflowType.RETRIEVE_EMAIL_MESSAGES, request)
    assert result["retrieved"] == 7
    await execute(client, WorkflowType.RETRIEVE_EMAIL_MESSAGES, request)  # nothing is new

    page = watched.page()
    with connector.store.database.read() as session:
        count, size = session.exec(select(func.count(), func.sum(Message.size))).one()
        batches = session.exec(select(CallbackDelivery)).all()
    assert page.value(metrics.REPLICATED_MAILS) == count == 7
    assert page.value(metrics.REPLICATED_BYTES) == size
    assert page.value(metrics.MAIL_AGE, "_count") == 7
    settled = [b for b in batches if b.settled_at]
    assert page.by(metrics.BATCHES, "state") == {
        ("stored",): len(batches),
        ("acknowledged",): len(settled),
        ("settled",): len(settled),
        ("abandoned",): len(batches) - len(settled),
    }
    assert page.value(metrics.BATCH_DURATION, "_count") == len(settled)
    assert page.by(metrics.CALLBACKS, "kind", "outcome") == {("on_email_fetch", "failed"): 1}
    assert page.value(metrics.CALLBACK_DURATION, "_sum") >= 1
    assert page.value(metrics.CONTENT_BYTES) == sum(
        size for (size,) in ((r.size,) for r in connector.rows(ContentRow))
    )


def test_the_page_keeps_to_the_conventions_of_prometheus() -> None:
    assert len({m.name for m in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"email_connector_[a-z]+(_[a-z]+)*", metric.name)
        assert not metric.name.endswith("_total")  # added on the way out
        assert metric.exposed_name.endswith("_total") == (metric.kind is MetricKind.COUNTER)
        assert bool(metric.buckets) == (metric.kind is MetricKind.HISTOGRAM)
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert not {"address", "account", "folder", "id", "user"} & set(metric.labels)
