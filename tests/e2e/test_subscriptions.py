"""Subscriptions: listening to folders of a real server, and retrieving what arrives."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.store.accounts import Secrets
from models.account import AccountSettings
from models.ids import subscription_workflow_id
from models.names import Query, Signal, WorkflowType
from models.settings import Settings
from models.subscription import (
    ListenerState,
    SubscribeForEmailNotificationInput,
    SubscriptionStatus,
)
from models.tables import Message
from starter.commands import Commands
from tests.e2e.conftest import MakeConnector, add_namespace, incoming
from tests.e2e.harness import Connector, connector_settings, execute, fresh, refusal
from tests.e2e.mails import mail
from tests.e2e.processes import ROOT, child, python
from tests.mail.swallowing_proxy import SwallowingProxy
from tests.servers import SEARCH_ATTRIBUTES
from tests.stores import Stores, store_environment
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot
from tools.temporal import DevServer

SUBSCRIBE = WorkflowType.SUBSCRIBE_FOR_EMAIL_NOTIFICATION
QUICK: dict[str, Any] = {
    "listen_heartbeat_seconds": 3,
    "listen_probe_seconds": 1,
    "listen_reply_seconds": 3,
    "listen_poll_seconds": 0.5,
    "listen_look_seconds": 0.3,
}
"""A pace at which nobody has to wait."""
BATCHES = "subscription-callbacks"


@pytest.fixture(scope="module")
def common(make_connector: MakeConnector) -> Connector:
    return make_connector(**QUICK)


@pytest.fixture
def connector(common: Connector) -> Connector:
    return common


@pytest.fixture
def listened(connector: Connector, dovecot: Dovecot, user: str) -> str:
    """An account whose folder nobody listens to yet."""
    return account_on(connector, dovecot, user)


def account_on(connector: Connector, dovecot: Dovecot, user: str, **settings: Any) -> str:
    described = {"email_address": user, "incoming": incoming(dovecot, username=user)}
    return connector.add_account(password=dovecot.password, **(described | settings))


def id_of(connector: Connector, account: str, folder: str = "INBOX") -> str:
    with connector.store.database.read() as session:
        return subscription_workflow_id(connector.store.accounts.get(session, account).id, folder)


def change(connector: Connector, account: str, *, password: str | None = None, **new: Any) -> None:
    secret = SecretStr(password) if password else None
    with connector.store.database.write() as session:
        found = connector.store.accounts.get(session, account)
        described = found.model_dump(exclude={"id", "created_at"}) | new
        wanted = AccountSettings.model_validate(described)
        connector.store.accounts.edit(session, account, wanted, Secrets(incoming=secret))


async def until(answer: Callable[[], Any], what: str, seconds: float = 60) -> None:
    """Wait until ``answer`` is true."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = answer()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


async def status_of(client: Client, workflow_id: str) -> SubscriptionStatus:
    handle = client.get_workflow_handle(workflow_id)
    found: SubscriptionStatus = await handle.query(Query.STATUS, result_type=SubscriptionStatus)
    return found


async def listening(client: Client, workflow_id: str) -> None:
    async def stands() -> bool:
        status = await status_of(client, workflow_id)
        return status.state is ListenerState.IDLE and status.retrievals > 0

    await until(stands, "it listens")


async def subscribe(connector: Connector, client: Client, account: str, **options: Any) -> str:
    request = SubscribeForEmailNotificationInput(account=account, **options)
    with connector.store.database.read() as session:
        found = connector.store.accounts.get(session, account)
    workflow_id = await Commands(client).subscribe(request, found)
    await listening(client, workflow_id)
    return workflow_id


def connections(dovecot: Dovecot, user: str) -> int:
    """The IMAP connections that a user has on the server."""
    listed = dovecot.doveadm("-f", "flow", "who", "-1", user)
    return sum("service=imap" in line or "proto=imap" in line for line in listed.splitlines())


def stored(connector: Connector, account: str) -> list[str]:
    with connector.store.database.read() as session:
        account_id = connector.store.accounts.get(session, account).id
    return sorted(m.subject for m in connector.rows(Message, Message.account_id == account_id))


@workflow.defn(name="TakeNoticed", sandboxed=False)
class TakeNoticed:
    @workflow.run
    async def run(self, batch: dict[str, Any]) -> int:
        return len(batch["messages"])


async def test_what_arrives_is_noticed_retrieved_and_called_back(
    connector: Connector, client: Client, listened: str, dovecot: Dovecot, user: str
) -> None:
    dovecot.deliver(user, mail("Before"))
    callback = {"workflow": "TakeNoticed", "task_queue": BATCHES}
    taker = Worker(
        client,
        task_queue=BATCHES,
        workflows=[TakeNoticed],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    async with taker:
        workflow_id = await subscribe(connector, client, listened, on_email_fetch=callback)
        assert stored(connector, listened) == ["Before"]
        dovecot.deliver(user, mail("After"))
        await until(lambda: stored(connector, listened) == ["After", "Before"], "it is stored")

        async def retrieved() -> bool:
            status = await status_of(client, workflow_id)
            return status.retrievals >= 2 and status.retrieval_error_type is None

        await until(retrieved, "the retrieval ends")
        status = await status_of(client, workflow_id)
        assert status.arrived == 1
        assert status.error_type is None
        assert status.proven_at is not None
        taken = client.list_workflows("WorkflowType = 'TakeNoticed'")
        await until(lambda: _count(client, "TakeNoticed", 2), "both batches are taken")
        assert {run.status async for run in taken} == {WorkflowExecutionStatus.COMPLETED}
    history = (await client.get_workflow_handle(workflow_id).fetch_history()).to_json()
    for word in ("Before", "After", user, dovecot.password):
        assert word not in history


async def _count(client: Client, kind: str, number: int) -> bool:
    return (await client.count_workflows(f"WorkflowType = '{kind}'")).count == number


async def test_fifty_that_start_at_once_are_one_connection(
    connector: Connector, client: Client, listened: str, dovecot: Dovecot, user: str
) -> None:
    """Half of them by the canonical id, half by ids of their own."""
    with connector.store.database.read() as session:
        found = connector.store.accounts.get(session, listened)
    request = SubscribeForEmailNotificationInput(account=listened)
    workflow_id = id_of(connector, listened)
    commands = Commands(client)
    results = await asyncio.gather(
        *(commands.subscribe(request, found) for _ in range(25)),
        *(execute(client, SUBSCRIBE, {"account": listened}) for _ in range(25)),
    )
    assert results[:25] == [workflow_id] * 25
    assert {(r["workflow_id"], r["ended"]) for r in results[25:]} == {(workflow_id, "attached")}
    await listening(client, workflow_id)
    assert connections(dovecot, user) == 1


async def test_other_terms_are_refused_aloud(
    connector: Connector, client: Client, listened: str
) -> None:
    await subscribe(connector, client, listened)
    refused = await refusal(client, SUBSCRIBE, {"account": listened, "consumer": "other"})
    assert refused.type == "StateConflict"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"account": "nobody-knows-it"}, "account"),
        ({"folder": "INBOX"}, "account"),
        ({"account": "x", "plan": None, "missed": 3}, "missed"),
        ({"account": "x", "folders": "INBOX"}, "folders"),
    ],
)
async def test_what_is_wrong_is_refused(client: Client, wrong: dict[str, Any], field: str) -> None:
    assert (await refusal(client, SUBSCRIBE, wrong)).field == field


async def test_a_stop_closes_the_connection(
    connector: Connector, client: Client, listened: str, dovecot: Dovecot, user: str
) -> None:
    workflow_id = await subscribe(connector, client, listened)
    await until(lambda: connections(dovecot, user) == 1, "it is connected")
    handle: WorkflowHandle[Any, Any] = client.get_workflow_handle(workflow_id)
    await handle.signal(Signal.STOP)
    assert (await handle.result())["ended"] == "stopped"
    await until(lambda: connections(dovecot, user) == 0, "the connection is closed")
    assert (await status_of(client, workflow_id)).state is ListenerState.STOPPED


async def test_a_cancelled_one_closes_its_connection(
    connector: Connector, client: Client, listened: str, dovecot: Dovecot, user: str
) -> None:
    workflow_id = await subscribe(connector, client, listened)
    handle = client.get_workflow_handle(workflow_id)
    await handle.cancel()
    await until(lambda: connections(dovecot, user) == 0, "the connection is closed")

    async def cancelled() -> bool:
        return (await handle.describe()).status is WorkflowExecutionStatus.CANCELED

    await until(cancelled, "it is cancelled")


async def test_a_changed_password_parks_it_and_mends_it(
    connector: Connector, client: Client, listened: str, dovecot: Dovecot, user: str
) -> None:
    workflow_id = await subscribe(connector, client, listened)
    change(connector, listened, password="not the password")

    async def parked() -> bool:
        status = await status_of(client, workflow_id)
        return (status.state, status.error_type) == (ListenerState.PARKED, "CredentialsRejected")

    await until(parked, "it is parked")
    assert connections(dovecot, user) == 0
    dovecot.deliver(user, mail("Meanwhile"))
    change(connector, listened, password=dovecot.password)
    await until(lambda: stored(connector, listened) == ["Meanwhile"], "it goes on")
    assert (await status_of(client, workflow_id)).state is ListenerState.IDLE


async def test_it_ends_with_its_account(
    connector: Connector, client: Client, listened: str
) -> None:
    workflow_id = await subscribe(connector, client, listened)
    with connector.store.database.write() as session:
        connector.store.accounts.delete(session, listened)
    result = await client.get_workflow_handle(workflow_id).result()
    assert result["ended"] == "account_gone"


@pytest.mark.parametrize(
    "changed", [{"subscribe": False}, {"subscribe": True, "folder": "Sent"}], ids=["off", "moved"]
)
async def test_a_flagged_account_is_listened_to_until_it_is_not(
    connector: Connector, client: Client, dovecot: Dovecot, user: str, changed: dict[str, Any]
) -> None:
    account = account_on(connector, dovecot, user, retrieval={"subscribe": True})
    workflow_id = id_of(connector, account)

    async def runs() -> bool:
        return workflow_id in await Commands(client).running_ids(SUBSCRIBE)

    await until(runs, "it is started")
    await listening(client, workflow_id)
    change(connector, account, retrieval=changed)
    result = await client.get_workflow_handle(workflow_id).result()
    assert result["ended"] == "not_flagged"


async def test_the_status_knows_when_the_server_answered_last(
    connector: Connector, client: Client, listened: str
) -> None:
    workflow_id = await subscribe(connector, client, listened)
    told = (await status_of(client, workflow_id)).proven_at
    assert told is not None

    async def later() -> bool:
        proven = (await Commands(client).subscription(workflow_id)).proven_at
        return proven is not None and proven > told

    await until(later, "a probe has proven it")


async def test_more_than_a_retrieval_takes_arrive_at_once(
    connector: Connector, client: Client, dovecot: Dovecot, user: str
) -> None:
    account = account_on(connector, dovecot, user, retrieval={"number_of_emails": 2})
    await subscribe(connector, client, account)
    for number in range(7):
        dovecot.deliver(user, mail(f"Mail {number}"))
    expected = [f"Mail {number}" for number in range(7)]
    await until(lambda: stored(connector, account) == expected, "all are stored")


@pytest.fixture
def settings(
    stores: Stores, tmp_path: Path, temporal_server: DevServer, test_ca: TestCA
) -> Settings:
    """Of workers over one store, one after the other."""
    return connector_settings(
        stores,
        tmp_path,
        temporal_server.address,
        add_namespace(temporal_server),
        ca_file=test_ca.ca_file,
        **QUICK,
    )


async def test_a_restarted_worker_listens_again(
    settings: Settings, dovecot: Dovecot, user: str
) -> None:
    with Connector(settings) as first:
        account = account_on(first, dovecot, user)
        client = await first.client()
        workflow_id = await subscribe(first, client, account)
    await until(lambda: connections(dovecot, user) == 0, "the connection is closed")
    dovecot.deliver(user, mail("While nobody listened"))
    with Connector(settings) as second:
        caught_up = ["While nobody listened"]
        await until(lambda: stored(second, account) == caught_up, "it is caught up with")
        await listening(await second.client(), workflow_id)
        await until(lambda: connections(dovecot, user) == 1, "one connection")


async def test_one_whose_worker_is_killed_is_taken_over(
    settings: Settings, dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    store = Connector(settings)
    account = account_on(store, dovecot, user)
    client = await store.client()
    environment = {**settings_environment(settings), **store_environment(settings)}
    where = python("worker.py")
    with child(where, tmp_path / "1", ready="worker ready", environment=environment) as worker:
        workflow_id = await subscribe(store, client, account)
        os.kill(worker.pid, signal.SIGKILL)
        worker.process.wait()
    dovecot.deliver(user, mail("While nobody listened"))
    with child(where, tmp_path / "2", ready="worker ready", environment=environment):
        caught_up = ["While nobody listened"]
        await until(lambda: stored(store, account) == caught_up, "it is caught up with")
        await until(lambda: connections(dovecot, user) == 1, "one connection")
        assert (await status_of(client, workflow_id)).state is ListenerState.IDLE


def settings_environment(settings: Settings) -> dict[str, str]:
    given = QUICK | {
        "data_dir": settings.data_dir,
        "temporal_address": settings.temporal_address,
        "temporal_namespace": settings.temporal_namespace,
        "ca_file": settings.ca_file,
        "shutdown_seconds": 1,
    }
    return {f"EMAIL_CONNECTOR_{name.upper()}": str(value) for name, value in given.items()}


async def test_a_line_that_is_cut_without_a_word_is_noticed(
    connector: Connector, client: Client, dovecot: Dovecot, user: str
) -> None:
    """Half-open and ended in turn: each time the mail of that time is found."""
    async with SwallowingProxy(dovecot.imap_port) as proxy:
        server = {
            "host": "127.0.0.1",
            "port": proxy.port,
            "protocol": "imap",
            "security": "none",
            "username": user,
        }
        account = connector.add_account(
            password=dovecot.password, email_address=user, incoming=server
        )
        workflow_id = await subscribe(connector, client, account)
        expected: list[str] = []
        for number in range(4):
            expected.append(f"Mail {number}")
            if number % 2:
                await asyncio.to_thread(dovecot.doveadm, "kick", user)
                dovecot.deliver(user, mail(expected[-1]))
            else:
                proxy.swallows = True
                dovecot.deliver(user, mail(expected[-1]))
                await until(lambda: waits(client, workflow_id), "it has noticed")
                proxy.swallows = False
            await until(lambda: stored(connector, account) == expected, f"{number} is stored")
            await listening(client, workflow_id)


async def waits(client: Client, workflow_id: str) -> bool:
    return (await status_of(client, workflow_id)).state is ListenerState.WAITING


@pytest.fixture
def brief_runs(server_directory: Path) -> Iterator[DevServer]:
    """A Temporal server on which a run is soon to be continued as new."""
    limits = {"limit.historyCount.suggestContinueAsNew": "40"}
    where = server_directory / fresh("temporal")
    with DevServer(where, search_attributes=SEARCH_ATTRIBUTES, dynamic_config=limits) as server:
        yield server


async def test_it_is_continued_as_new_and_keeps_its_terms(
    brief_runs: DevServer,
    stores: Stores,
    tmp_path: Path,
    test_ca: TestCA,
    dovecot: Dovecot,
    user: str,
) -> None:
    settings = connector_settings(
        stores, tmp_path, brief_runs.address, "default", ca_file=test_ca.ca_file, **QUICK
    )
    with Connector(settings) as connector:
        client = await connector.client()
        account = account_on(connector, dovecot, user)
        workflow_id = await subscribe(connector, client, account)
        handle: WorkflowHandle[Any, Any] = client.get_workflow_handle(workflow_id)
        first = (await handle.describe()).run_id
        expected: list[str] = []
        while (await handle.describe()).run_id == first or len(expected) < 5:
            expected.append(f"Mail {len(expected):02}")
            dovecot.deliver(user, mail(expected[-1]))
            await until(lambda: stored(connector, account) == expected, "it is stored")
        await until(lambda: connections(dovecot, user) == 1, "one connection")
        status = await status_of(client, workflow_id)
        assert status.arrived == len(expected)
        refused = await refusal(client, SUBSCRIBE, {"account": account, "consumer": "other"})
        assert refused.type == "StateConflict"
        await handle.signal(Signal.STOP)
        assert (await handle.result())["ended"] == "stopped"


async def test_the_command_line(
    connector: Connector, client: Client, listened: str, dovecot: Dovecot, user: str
) -> None:
    settings = connector.settings
    environment = {
        **os.environ,
        **store_environment(settings),
        "EMAIL_CONNECTOR_TEMPORAL_ADDRESS": settings.temporal_address or "",
        "EMAIL_CONNECTOR_TEMPORAL_NAMESPACE": settings.temporal_namespace or "",
    }

    async def asked(*words: str) -> Any:
        running = await asyncio.create_subprocess_exec(
            *python("-m", "starter", "subscription", *words, "--json"),
            cwd=ROOT,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await running.communicate()
        return json.loads(out)

    workflow_id = id_of(connector, listened)
    assert (await asked("start", "--account", listened)) == {"workflow_id": workflow_id}
    await listening(client, workflow_id)
    status = await asked("status", "--account", listened)
    assert (status["state"], status["folder"]) == ("idle", "INBOX")
    other = await asked("start", "--account", listened, "--consumer", "other")
    assert other["error"]["type"] == "StateConflict"

    async def listed() -> bool:
        rows = (await asked("list"))["subscriptions"]
        return [r["account"] for r in rows if r["workflow_id"] == workflow_id] == [listened]

    await until(listed, "it is listed")
    assert (await asked("stop", "--account", listened)) == {"stopping": workflow_id}
    handle: WorkflowHandle[Any, Any] = client.get_workflow_handle(workflow_id)
    assert (await handle.result())["ended"] == "stopped"
    none = await asked("stop", "--account", listened)
    assert none["error"]["type"] == "InvalidInput"
