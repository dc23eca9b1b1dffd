"""The connector under test: its store, and its worker in a thread with an event loop of its own.

Each one works in a Temporal namespace of its own, because the names of the task queues are fixed.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from google.protobuf.duration_pb2 import Duration
from pydantic import SecretStr
from sqlalchemy import func
from sqlmodel import select
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    RegisterNamespaceRequest,
)
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from activities.providers.registry import KNOWN, Providers
from activities.store.accounts import Secrets
from activities.store.assembly import Store, open_store
from models.account import AccountSettings
from models.connection import connect
from models.names import Query, TaskQueue
from models.search_attributes import TYPES
from models.settings import Settings
from models.tables import ContentRow, Delivery, Folder, Message, Retrieval
from models.wire import data_converter
from tests.stores import Stores
from worker import running

COUNTED = (Message, Delivery, ContentRow, Retrieval, Folder)
"""Tables in which a refused request must leave nothing."""


def fresh(prefix: str = "x") -> str:
    """Return a name that nobody has used before."""
    return f"{prefix}{uuid.uuid4().hex[:12]}"


async def new_namespace(address: str) -> str:
    """Add a namespace to a running Temporal server and wait until it is known."""
    name = fresh("ns")
    client = await Client.connect(address)
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(
            namespace=name, workflow_execution_retention_period=Duration(seconds=86_400)
        )
    )
    inside = await Client.connect(address, namespace=name)
    for _ in range(100):
        try:
            # Here and not by the worker, which would wait for the slowest of servers.
            await inside.operator_service.add_search_attributes(
                AddSearchAttributesRequest(namespace=name, search_attributes=TYPES)
            )
            await inside.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=name)
            )
            # Only the history service's cache decides whether a workflow can start.
            handle = await inside.start_workflow("Probe", id="probe", task_queue="probe")
            await handle.terminate()
        except RPCError:
            await asyncio.sleep(0.05)
        else:
            return name
    raise TimeoutError(f"namespace {name}")


class Connector:
    """A store with accounts, and (once entered) the worker over it.

    Args:
        settings: Its settings, address and namespace of Temporal included.
        providers: What it knows of mail providers.
    """

    def __init__(self, settings: Settings, providers: Providers = KNOWN) -> None:
        self._providers = providers
        self.settings = settings
        self.store: Store = open_store(settings)
        self._thread = threading.Thread(target=self._run, name="connector", daemon=True)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(30)
        if self._error is not None:
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        self.store.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        client = await self.client()
        async with running(self.settings, self.store, client, providers=self._providers):
            self._ready.set()
            await self._stop.wait()

    async def client(self) -> Client:
        """Return a client of the running loop that has our keys."""
        return await connect(self.settings, data_converter(self.store.keys.payloads))

    async def stranger(self) -> Client:
        """Return a client without our keys and code, as any other service would have it."""
        return await Client.connect(
            self.settings.temporal_address or "",
            namespace=self.settings.temporal_namespace or "default",
        )

    def add_account(
        self, *, password: str = "secret", name: str | None = None, **settings: Any
    ) -> str:
        """Add an account with one password for both sides; returns its name."""
        name = name or fresh("account-")
        described = {"name": name, "email_address": "sender@example.org", **settings}
        secret = SecretStr(password)
        with self.store.database.write() as session:
            self.store.accounts.add(
                session,
                str(uuid.uuid4()),
                AccountSettings.model_validate(described),
                Secrets(outgoing=secret, incoming=secret),
            )
        return name

    def counts(self) -> dict[str, int]:
        """Return how many rows the tables hold that a refused request must not touch."""
        with self.store.database.read() as session:
            return {
                table.__name__: session.exec(select(func.count()).select_from(table)).one()
                for table in COUNTED
            }

    def rows(self, table: type[Any], *conditions: Any) -> list[Any]:
        """Return the rows of ``table`` for which all conditions hold."""
        with self.store.database.read() as session:
            return list(session.exec(select(table).where(*conditions)))

    def content(self, key: str) -> bytes:
        """Return a piece of stored content."""
        with self.store.database.read() as session:
            return self.store.content.read(session, key)[1]


def connector_settings(
    stores: Stores, data_dir: Path, address: str, namespace: str, **changes: Any
) -> Settings:
    """Return settings of a new store that make nobody wait."""
    values: dict[str, Any] = {
        "data_dir": data_dir,
        "temporal_address": address,
        "temporal_namespace": namespace,
        "retry_delays_seconds": [0.3],
        "slow_down_seconds": 0.3,
        "mailbox_busy_seconds": 0,
        "shutdown_seconds": 1,
        **stores.fresh(),
    }
    return Settings(**(values | changes))


async def execute(client: Client, kind: str, *inputs: Any, id: str | None = None) -> Any:
    """Run a workflow of ours with ``inputs`` as they are, and return its result."""
    return await client.execute_workflow(
        kind, args=inputs, id=id or fresh("test/"), task_queue=TaskQueue.ORCHESTRATION
    )


@dataclass(frozen=True)
class Refusal:
    """A typed failure as a client sees it."""

    type: str | None
    field: str | None
    message: str
    seconds: float
    """From the start of the workflow to its end, by Temporal's clock."""


async def refusal(client: Client, kind: str, *inputs: Any) -> Refusal:
    """Run a workflow that must fail with a typed error of ours, and return that."""
    workflow_id = fresh("test/")
    try:
        result = await asyncio.wait_for(execute(client, kind, *inputs, id=workflow_id), 20)
    except WorkflowFailureError as error:
        cause = error.cause
    else:
        raise AssertionError(f"{kind} was not refused: {result}")
    assert isinstance(cause, ApplicationError), repr(cause)
    described = await client.get_workflow_handle(workflow_id).describe()
    assert described.close_time
    return Refusal(
        cause.type,
        field_of(cause.details),
        cause.message,
        (described.close_time - described.start_time).total_seconds(),
    )


async def progress_of(handle: WorkflowHandle[Any, Any], seconds: float = 10) -> Any:
    """Return the answer of the query ``progress`` as soon as there is one."""
    async with asyncio.timeout(seconds):
        while (progress := await handle.query(Query.PROGRESS)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return progress


def field_of(details: Sequence[Any]) -> str | None:
    """Return the name of the field that a failure's details carry."""
    return next((d["field"] for d in details if isinstance(d, dict) and "field" in d), None)
