"""Histories stay small, however much mail there is; what does not fit goes on in a new run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message as ProtobufMessage
from sqlmodel import col, select
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.contrib.pydantic import pydantic_data_converter

from models.mailbox import FetchedBatch
from models.names import WorkflowType
from models.tables import Acknowledgement, BatchItem, CallbackDelivery, Location
from tests.e2e.conftest import add_namespace, incoming
from tests.e2e.harness import Connector, connector_settings, execute, fresh
from tests.e2e.mails import mail
from tests.e2e.processes import child, python
from tests.stores import Stores
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot
from tools.temporal import DevServer

RETRIEVE = WorkflowType.RETRIEVE_EMAIL_MESSAGES
MAILS = 2000


def sizes(message: ProtobufMessage) -> Iterator[int]:
    """The size of every payload in a protobuf message."""
    if isinstance(message, Payload):
        yield message.ByteSize()
        return
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        values: Sequence[Any] = [value]
        if descriptor.message_type.GetOptions().map_entry:
            values = list(value.values())
        elif hasattr(value, "append"):
            values = value
        for each in values:
            if isinstance(each, ProtobufMessage):
                yield from sizes(each)


async def history_of(client: Client, workflow_id: str) -> tuple[int, int, int]:
    """Events, bytes and the size of the biggest payload of a run."""
    handle = client.get_workflow_handle(workflow_id)
    info = (await handle.describe()).raw_description.workflow_execution_info
    history = await handle.fetch_history()
    biggest = max(size for event in history.events for size in sizes(event))
    return len(history.events), info.history_size_bytes, biggest


@pytest.fixture
def retrieving(connector: Connector, dovecot: Dovecot, user: str) -> str:
    """An account that retrieves without TLS, which is not what is tested here."""
    server = incoming(
        dovecot, port=dovecot.imap_port, protocol="imap", security="none", username=user
    )
    return connector.add_account(password=dovecot.password, incoming=server)


async def test_two_thousand_mails(
    connector: Connector, client: Client, dovecot: Dovecot, user: str, retrieving: str
) -> None:
    for number in range(MAILS):
        dovecot.deliver(user, mail(f"Mail {number}"))
    workflow_id = fresh("test/")
    request = {"account": retrieving, "replicate_everything": True, "batch_size": 100}
    result = await execute(client, RETRIEVE, request, id=workflow_id)
    assert (result["retrieved"], result["batches"]) == (MAILS, 20)
    events, size, biggest = await history_of(client, workflow_id)
    assert events < 10_000
    assert size < 5_000_000
    assert biggest < 64 * 1024


@pytest.mark.parametrize("letter", ["😀", '"'], ids=ascii)
async def test_a_hundred_mails_with_maximal_envelopes(
    connector: Connector,
    client: Client,
    dovecot: Dovecot,
    user: str,
    retrieving: str,
    letter: str,
) -> None:
    addresses = ", ".join(
        f"{letter * 100} <{'a' * 60}{n}@{'b' * 60}.example.net>" for n in range(50)
    )
    for number in range(100):
        head = (
            f"From: {letter * 300} <{'a' * 64}@{'b' * 60}.example.org>\r\n"
            f"To: {addresses}\r\n"
            f"Subject: {letter * 1000} {number}\r\n"
        )
        dovecot.deliver(user, head.encode() + b"\r\nx\r\n")
    workflow_id = fresh("test/")
    callback = {
        "workflow": "Nobody",
        "task_queue": fresh("nobody-"),
        "execution_timeout_seconds": 1,
        "payloads": "plain",
    }
    with pytest.raises(Exception, match="Workflow execution failed"):
        await execute(
            client,
            RETRIEVE,
            {"account": retrieving, "number_of_emails": 100, "on_email_fetch": callback},
            id=workflow_id,
        )
    _, _, biggest = await history_of(client, workflow_id)
    assert biggest < 64 * 1024
    # The callback's payload, in clear, is the whole batch all the same.
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    (payload,) = next(
        e.start_child_workflow_execution_initiated_event_attributes.input.payloads
        for e in history.events
        if e.event_type == EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED
    )
    (batch,) = pydantic_data_converter.payload_converter.from_payloads([payload], [FetchedBatch])
    assert len(batch.messages) == 100
    assert all(m.truncated and m.sender and m.id for m in batch.messages)


class TestContinueAsNew:
    @pytest.fixture
    def server(self, server_directory: Path) -> Iterator[DevServer]:
        """A server that suggests a new run after fifty events."""
        limits = {"limit.historyCount.suggestContinueAsNew": "50"}
        with DevServer(server_directory / "short-histories", dynamic_config=limits) as server:
            yield server

    @pytest.fixture
    def connector(
        self, server: DevServer, tmp_path: Path, test_ca: TestCA, stores: Stores
    ) -> Iterator[Connector]:
        namespace = add_namespace(server)
        settings = connector_settings(
            stores, tmp_path, server.address, namespace, ca_file=test_ca.ca_file
        )
        with Connector(settings) as connector:
            yield connector

    async def test_nothing_is_lost_or_repeated(
        self,
        server: DevServer,
        connector: Connector,
        client: Client,
        dovecot: Dovecot,
        user: str,
        retrieving: str,
    ) -> None:
        dovecot.create_folder(user, "Done")
        for number in range(200):
            dovecot.deliver(user, mail(f"Mail {number}"))
        queue, workflow_id = fresh("consumer-"), fresh("test/")
        settings = connector.settings
        command = python("-m", "tests.e2e.callback_worker", server.address)
        command += [settings.temporal_namespace or "", queue]
        with child(command, settings.data_dir / "consumer.log", ready="ready"):
            result = await execute(
                client,
                RETRIEVE,
                {
                    "account": retrieving,
                    "replicate_everything": True,
                    "batch_size": 10,
                    "handling": "move",
                    "move_folder": "Done",
                    "on_email_fetch": {
                        "workflow": "Take",
                        "task_queue": queue,
                        "payloads": "plain",
                    },
                },
                id=workflow_id,
            )
        assert (result["retrieved"], result["handled"], result["batches"]) == (200, 200, 20)

        runs = [run async for run in client.list_workflows(f"WorkflowId = '{workflow_id}'")]
        states = Counter(run.status for run in runs)
        assert states[WorkflowExecutionStatus.COMPLETED] == 1
        assert states[WorkflowExecutionStatus.CONTINUED_AS_NEW] == len(runs) - 1 >= 2
        # Batches that were being fetched when it was suggested are taken through first.
        assert all(run.history_length < 150 for run in runs)

        with connector.store.database.read() as session:
            items = session.exec(
                select(BatchItem.uid, CallbackDelivery.number)
                .join(CallbackDelivery, col(CallbackDelivery.id) == col(BatchItem.batch_id))
                .order_by(col(CallbackDelivery.number), col(BatchItem.position))
            ).all()
        assert [uid for uid, _ in items] == list(range(1, 201))
        assert len(connector.rows(Acknowledgement)) == 200
        assert all(row.handled_at for row in connector.rows(Location))
        children = [run async for run in client.list_workflows("WorkflowType = 'Take'")]
        assert len(children) == len({run.id for run in children}) == 20
