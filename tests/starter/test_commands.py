"""Commands against Temporal without a worker: what is started, joined and refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from temporalio.client import Client

from models.account import EmailAccount, IncomingServer
from models.delivery import SendEmailInput
from models.errors import ConnectorError, ErrorType
from models.mailbox import RetrieveEmailMessagesInput
from models.message import EmailMessage
from models.wire import data_converter
from starter.commands import Commands
from tools.temporal import DevServer

KEYS = {"k1": b"k" * 32}
ACCOUNT = EmailAccount(
    id="a1",
    name="A",
    email_address="a@firm.example",
    incoming=IncomingServer(host="imap.firm.example", username="a"),
    created_at=datetime.now(UTC),
)
MAIL = SendEmailInput(
    account="a1",
    message=EmailMessage.model_validate({"to": "b@firm.example", "plain_body": "x"}),
)


@pytest.fixture
async def client(temporal_server: DevServer) -> AsyncIterator[Client]:
    """A client; whatever the test leaves running is terminated."""
    client = await Client.connect(temporal_server.address, data_converter=data_converter(KEYS))
    yield client
    async for run in client.list_workflows("ExecutionStatus = 'Running'"):
        await client.get_workflow_handle(run.id, run_id=run.run_id).terminate()


async def test_a_folder_that_is_being_retrieved_is_busy(client: Client) -> None:
    commands = Commands(client)
    first = await commands.retrieve(RetrieveEmailMessagesInput(account="A"), ACCOUNT)
    with pytest.raises(ConnectorError) as refused:
        await commands.retrieve(
            RetrieveEmailMessagesInput(account="a1", number_of_emails=3), ACCOUNT
        )
    assert refused.value.type is ErrorType.MAILBOX_BUSY
    assert first.workflow_id in str(refused.value)
    other = await commands.retrieve(RetrieveEmailMessagesInput(account="A", folder="X"), ACCOUNT)
    assert other.workflow_id != first.workflow_id


async def test_an_id_never_sends_twice(client: Client) -> None:
    commands, own_id = Commands(client), f"order/{uuid4()}"
    run = await commands.send(MAIL, workflow_id=own_id)
    assert run.workflow_id == own_id
    await client.get_workflow_handle(own_id).terminate()
    with pytest.raises(ConnectorError) as refused:
        await commands.send(MAIL, workflow_id=own_id)
    assert (refused.value.type, refused.value.field) == (
        ErrorType.IDEMPOTENCY_CONFLICT,
        "workflow_id",
    )


async def test_mails_without_an_id_are_all_sent(client: Client) -> None:
    commands = Commands(client)
    first, second = await commands.send(MAIL), await commands.send(MAIL)
    assert first.workflow_id != second.workflow_id
    assert first.workflow_id.startswith("send/")


async def test_the_end_of_a_run_is_told(client: Client) -> None:
    commands = Commands(client)
    run = await commands.send(MAIL)
    assert await commands.progress(run.workflow_id) is None
    await client.get_workflow_handle(run.workflow_id).terminate()
    with pytest.raises(ConnectorError, match="was terminated"):
        await commands.result(run.workflow_id)
    with pytest.raises(ConnectorError, match="was terminated"):
        await commands.wait(run)


async def test_unknown_and_foreign_runs_are_refused(client: Client) -> None:
    commands = Commands(client)
    for ask in (commands.result, commands.progress):
        with pytest.raises(ConnectorError) as unknown:
            await ask(f"send/{uuid4()}")
        assert (unknown.value.type, unknown.value.field) == (ErrorType.INVALID_INPUT, "workflow_id")
    foreign = f"foreign/{uuid4()}"
    await client.start_workflow("Foreign", id=foreign, task_queue="nobody")
    with pytest.raises(ConnectorError, match="not one of ours"):
        await commands.result(foreign)
