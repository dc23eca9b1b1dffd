"""Search attributes: registered before anything works, set by the workflows, filtered by."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import SearchAttributeKey

from models.delivery import MessageStatus
from models.errors import ConnectorError, ErrorType
from models.names import Direction, RunStatus, SearchAttribute, TaskQueue, WorkflowType
from models.search_attributes import TYPES, register
from starter.namespace import ensure_namespace
from tests.e2e.harness import Connector, execute, fresh
from tests.e2e.processes import ROOT
from tools.servers.process import LOOPBACK, free_port
from tools.temporal import DevServer

SEND, RETRIEVE = WorkflowType.SEND_EMAIL, WorkflowType.RETRIEVE_EMAIL_MESSAGES
KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD


@pytest_asyncio.fixture
async def bare(temporal_server: DevServer) -> AsyncIterator[Client]:
    """A client of a new namespace that knows none of our search attributes."""
    client = await Client.connect(temporal_server.address, namespace=fresh("bare"))
    assert await ensure_namespace(client, retention_days=1)
    yield client


async def add(client: Client, **kinds: IndexedValueType.ValueType) -> None:
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace=client.namespace, search_attributes=kinds)
    )


class TestRegistering:
    async def test_what_is_missing_is_registered_once(self, bare: Client) -> None:
        await add(bare, EmailStatus=KEYWORD)
        assert sorted(await register(bare)) == ["EmailAccount", "EmailDirection"]
        assert await register(bare) == []
        assert not await ensure_namespace(bare, retention_days=1)

    async def test_processes_that_start_together_agree(self, bare: Client) -> None:
        found = await asyncio.gather(*(register(bare) for _ in range(4)))
        assert set(TYPES) in [set(names) for names in found]
        assert await register(bare) == []

    async def test_another_type_is_named(self, bare: Client) -> None:
        await add(bare, EmailStatus=IndexedValueType.INDEXED_VALUE_TYPE_INT)
        with pytest.raises(ConnectorError) as caught:
            await register(bare)
        assert caught.value.type is ErrorType.SEARCH_ATTRIBUTES_UNUSABLE
        assert "EmailStatus with the type Int, and we need Keyword" in caught.value.message

    async def test_a_refusal_says_what_to_do(self, bare: Client) -> None:
        # On an SQL database a namespace has ten of a type.
        await add(bare, **{f"Theirs{n}": KEYWORD for n in range(10)})
        with pytest.raises(ConnectorError) as caught:
            await register(bare)
        assert caught.value.type is ErrorType.SEARCH_ATTRIBUTES_UNUSABLE
        assert "python -m starter temporal setup" in caught.value.message
        assert "EmailAccount (Keyword)" in caught.value.message

    async def test_an_unknown_namespace_is_named(self, temporal_server: DevServer) -> None:
        client = await Client.connect(temporal_server.address, namespace="nowhere")
        with pytest.raises(ConnectorError) as caught:
            await register(client)
        assert caught.value.type is ErrorType.INVALID_INPUT
        assert "no namespace nowhere" in caught.value.message

    async def test_a_worker_that_may_not_does_not_start(self, bare: Client, tmp_path: Path) -> None:
        await add(bare, EmailAccount=IndexedValueType.INDEXED_VALUE_TYPE_INT)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "worker.py"),
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "EMAIL_CONNECTOR_DATA_DIR": str(tmp_path),
                "EMAIL_CONNECTOR_TEMPORAL_ADDRESS": bare.service_client.config.target_host,
                "EMAIL_CONNECTOR_TEMPORAL_NAMESPACE": bare.namespace,
            },
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        assert process.returncode == 1
        assert b"\nSearchAttributesUnusable: namespace" in said
        assert b"Traceback" not in said


async def attributes(handle: WorkflowHandle[Any, Any]) -> dict[str, str | None]:
    found = (await handle.describe()).typed_search_attributes
    return {name.value: found.get(SearchAttributeKey.for_keyword(name)) for name in SearchAttribute}


def account_id(connector: Connector, name: str) -> str:
    with connector.store.database.read() as session:
        return connector.store.accounts.get(session, name).id


def expected(account: str | None, direction: Direction, status: RunStatus) -> dict[str, str | None]:
    return {"EmailAccount": account, "EmailDirection": direction, "EmailStatus": status}


def to(address: str) -> dict[str, str]:
    return {"to": address, "content": "<p>Hello</p>"}


class TestTracking:
    """The client sets nothing itself, as any other."""

    async def test_a_sent_mail(
        self, connector: Connector, client: Client, account: str, user: str
    ) -> None:
        workflow_id = fresh("track/")
        await execute(client, SEND, {"account": account, "message": to(user)}, id=workflow_id)
        assert await attributes(client.get_workflow_handle(workflow_id)) == expected(
            account_id(connector, account), Direction.OUTGOING, RunStatus.SENT
        )

    async def test_a_retrieved_folder(
        self, connector: Connector, client: Client, account: str
    ) -> None:
        workflow_id = fresh("track/")
        await execute(client, RETRIEVE, {"account": account}, id=workflow_id)
        assert await attributes(client.get_workflow_handle(workflow_id)) == expected(
            account_id(connector, account), Direction.INCOMING, RunStatus.RECEIVED
        )

    @pytest.mark.parametrize(
        ("kind", "direction"), [(SEND, Direction.OUTGOING), (RETRIEVE, Direction.INCOMING)]
    )
    async def test_a_run_that_fails(
        self, client: Client, kind: WorkflowType, direction: Direction
    ) -> None:
        workflow_id = fresh("track/")
        request: dict[str, Any] = {"account": "nobody"}
        if kind is SEND:
            request["message"] = to("to@example.net")
        with pytest.raises(WorkflowFailureError):
            await execute(client, kind, request, id=workflow_id)
        assert await attributes(client.get_workflow_handle(workflow_id)) == expected(
            None, direction, RunStatus.FAILED
        )

    async def test_a_mail_that_is_cancelled_on_its_way(
        self, connector: Connector, client: Client
    ) -> None:
        nobody = {"host": LOOPBACK, "port": free_port(), "security": "none", "login": "none"}
        account = connector.add_account(outgoing=nobody)
        handle = await client.start_workflow(
            SEND,
            {"account": account, "message": to("to@example.net")},
            id=fresh("track/"),
            task_queue=TaskQueue.ORCHESTRATION,
        )
        on_its_way = expected(account_id(connector, account), Direction.OUTGOING, RunStatus.SENDING)
        async with asyncio.timeout(30):
            while await attributes(handle) != on_its_way:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert await attributes(handle) == on_its_way | {"EmailStatus": RunStatus.CANCELLED}


def test_every_end_of_a_mail_is_a_status() -> None:
    before_the_end = {MessageStatus.DRAFT, MessageStatus.QUEUED}
    assert {s.value for s in MessageStatus if s not in before_the_end} <= set(RunStatus)
