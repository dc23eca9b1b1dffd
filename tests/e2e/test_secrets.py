"""Canaries: words that must not sing where they do not belong.

A worker in a process of its own, logging at DEBUG, sends and retrieves mail full of them, well and
badly. Afterwards they are looked for in all it wrote, in every history, and in the database.

It runs twice: as it is, and without the project's logging, which hides the texts of failures. Mail
and secrets have to be silent even then.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import SecretStr
from sqlmodel import select
from temporalio.client import Client

from activities.ports import Endpoint
from activities.store.accounts import Secrets
from models.names import TaskQueue, WorkflowType
from models.tables import AccountRow, LogEntry
from tests.e2e.conftest import add_namespace, incoming
from tests.e2e.harness import (
    Connector,
    connector_settings,
    execute,
    fresh,
    progress_of,
    refusal,
)
from tests.e2e.mails import mail
from tests.e2e.processes import ChildProcess, child, python
from tests.smtp_server import Fault, SmtpServer
from tests.stores import Stores, database_bytes, store_environment
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot
from tools.servers.process import free_port
from tools.temporal import DevServer

SEND, RETRIEVE = WorkflowType.SEND_EMAIL, WorkflowType.RETRIEVE_EMAIL_MESSAGES

_WITHOUT_OUR_LOGGING = """
import asyncio, logging
logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s %(message)s")
import worker
worker.configure = lambda settings: None
asyncio.run(worker.main())
"""


def canary(kind: str) -> str:
    return f"canary-{kind}-{uuid.uuid4().hex}"


@dataclass
class Canaries:
    password: str = field(default_factory=lambda: canary("password"))
    wrong_password: str = field(default_factory=lambda: canary("wrong"))
    subject: str = field(default_factory=lambda: canary("sübject"))
    body: str = field(default_factory=lambda: canary("bödy"))
    attachment: str = field(default_factory=lambda: canary("attachment"))
    recipient: str = field(default_factory=lambda: f"{canary('rcpt')}@example.net")
    name: str = field(default_factory=lambda: canary("näme"))
    folder: str = field(default_factory=lambda: canary("folder"))
    words: str = field(default_factory=lambda: canary("words"))
    """What servers say."""

    @property
    def passwords(self) -> list[str]:
        return [self.password, self.wrong_password]

    @property
    def all(self) -> list[str]:
        return [*vars(self).values()]


def forms(word: str) -> list[bytes]:
    """A word as it may be written somewhere: in clear, for URLs, in UTF-16, in JSON, in base64."""
    clear = word.encode()
    inside = [
        # Whatever stands before it, one of these three is part of the encoded text.
        base64.b64encode(bytes(offset) + clear)[(offset + 2) // 3 * 4 + 4 : -4]
        for offset in range(3)
    ]
    return [
        clear,
        quote(word).encode(),
        json.dumps(word)[1:-1].encode(),
        word.encode("utf-16-le"),
        word.encode("utf-16-be"),
        clear.hex().encode(),
        *inside,
    ]


def singing(words: list[str], text: bytes) -> list[str]:
    """The words that are found in ``text`` in any form."""
    return [word for word in words if any(form in text for form in forms(word))]


def strings(value: Any) -> Iterator[str]:
    """All strings in a JSON document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def unpacked(document: str) -> bytes:
    """A JSON document, and everything in it that is base64, decoded."""
    texts = [document.encode()]
    for text in strings(json.loads(document)):
        try:
            texts.append(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            continue
    return b"\0".join(texts)


def test_the_search_finds_what_is_there() -> None:
    word = canary("ä")
    for text in (
        word.encode(),
        quote(word).encode(),
        word.encode("utf-16"),
        json.dumps({"a": [word]}).encode(),
        *(base64.b64encode(b"x" * n + word.encode() + b"y" * 5) for n in range(7)),
    ):
        assert singing([word], text) == [word], text
    data = base64.b64encode(json.dumps({"subject": word}).encode()).decode()
    assert singing([word], unpacked(json.dumps([{"data": data}]))) == [word]
    assert singing([word], canary("ä").encode()) == []


@dataclass
class Stage:
    """A worker that is watched."""

    connector: Connector
    process: ChildProcess
    dovecot: Dovecot
    words: Canaries
    stores: Stores
    ours: bool
    """Whether the worker logs as it always does."""

    @property
    def silent(self) -> list[str]:
        """What its log must not say; texts of failures are hidden by our logging alone."""
        words = self.words
        return words.all if self.ours else list({*words.all} - {words.folder, words.words})

    async def histories(self) -> dict[str, str]:
        """All histories of the namespace, as anybody without our key can export them."""
        anybody = await self.connector.stranger()
        return {
            f"{run.workflow_type} {run.id}": (
                await anybody.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
            ).to_json()
            async for run in anybody.list_workflows()
        }


@pytest.fixture(scope="module", params=[True, False], ids=["our_logging", "raw_logging"])
def stage(
    request: pytest.FixtureRequest,
    server_directory: Path,
    tmp_path_factory: pytest.TempPathFactory,
    temporal_server: DevServer,
    test_ca: TestCA,
    stores: Stores,
) -> Iterator[Stage]:
    words = Canaries()
    data_dir = tmp_path_factory.mktemp("data")
    namespace = add_namespace(temporal_server)
    connector = Connector(
        connector_settings(
            stores, data_dir, temporal_server.address, namespace, ca_file=test_ca.ca_file
        )
    )
    environment = {
        **store_environment(connector.settings),
        "EMAIL_CONNECTOR_TEMPORAL_ADDRESS": temporal_server.address,
        "EMAIL_CONNECTOR_TEMPORAL_NAMESPACE": namespace,
        "EMAIL_CONNECTOR_CA_FILE": str(test_ca.ca_file),
        "EMAIL_CONNECTOR_RETRY_DELAYS_SECONDS": "[0.3]",
        "EMAIL_CONNECTOR_LOG_FORMAT": "json",
        "EMAIL_CONNECTOR_LOG_LEVEL": "debug",
        "RUST_LOG": "debug",
    }
    ours: bool = request.param
    command = python("worker.py") if ours else python("-c", _WITHOUT_OUR_LOGGING)
    place = server_directory / f"canary{ours}"
    with (
        Dovecot(place, test_ca.issue(), password=words.password) as dovecot,
        child(
            command,
            data_dir / "worker.log",
            ready="worker ready",
            environment=environment,
        ) as process,
    ):
        yield Stage(connector, process, dovecot, words, stores, ours)
    connector.store.close()


async def failing(client: Client, kind: str, request: Any) -> str | None:
    return (await refusal(client, kind, request)).type


class TestCanaries:
    async def test_they_are_silent(self, stage: Stage) -> None:
        words, connector = stage.words, stage.connector
        client = await connector.client()
        message = {
            "to": f'"{words.name}" <{words.recipient}>',
            "subject": words.subject,
            "content": f"<p>{words.body}</p>",
            "attachments": [
                {
                    "name": f"{words.name}.txt",
                    "content": base64.b64encode(words.attachment.encode()).decode(),
                }
            ],
        }
        await self.send(stage, client, message)
        await self.send_badly(stage, client, message)
        await self.retrieve(stage, client)
        await self.retrieve_badly(stage, client)
        await self.break_the_store(stage, client, message)
        await self.surprise(stage, client, message)

        # What the worker wrote, its DEBUG log included.
        output = stage.process.output
        assert "DEBUG" in output
        assert singing(stage.silent, output.encode()) == []
        if stage.ours:
            assert_lines_name_the_steps(output)

        histories = await stage.histories()
        assert len(histories) > 12
        for name, history in histories.items():
            assert singing(words.all, unpacked(history)) == [], name
        together = "".join(histories.values())
        for type in ("CredentialsRejected", "InvalidInput", "FolderNotFound"):
            assert type in together  # readable without the key

        # Nor does the error log, whatever a server has repeated.
        entries = repr([entry.model_dump() for entry in connector.rows(LogEntry)])
        assert "explanation" in entries
        assert singing(words.all, entries.encode()) == []

        assert singing(words.passwords, database_bytes(connector.settings)) == []
        made = json.loads((connector.settings.data_dir / "keys.json").read_text())
        keys = [key.rpartition(":")[2] for key in made.values()]
        keys += [os.environ["AWS_SECRET_ACCESS_KEY"]] if connector.settings.blob_url else []
        assert singing(keys, output.encode() + unpacked(f"[{','.join(histories.values())}]")) == []

    async def send(self, stage: Stage, client: Client, message: dict[str, Any]) -> None:
        words = stage.words
        async with SmtpServer(auth=("user", words.password)) as smtp:
            account = stage.connector.add_account(
                password=words.password, outgoing=plain_smtp(smtp.port)
            )
            result = await execute(client, SEND, {"account": account, "message": message})
            assert result["status"] == "sent"
            assert words.subject not in str(smtp.accepted)
            read = {"message_id": result["message_id"]}
            read = await execute(client, WorkflowType.GET_EMAIL_MESSAGE, read)
            assert read["subject"] == words.subject
            checked = {"account": account}
            assert (await execute(client, WorkflowType.CHECK_SERVER_CONNECTION, checked))["ok"]

    async def send_badly(self, stage: Stage, client: Client, message: dict[str, Any]) -> None:
        words, connector = stage.words, stage.connector
        # A server that repeats what it heard.
        parrot: dict[str, int | str] = {
            words.recipient: f"550 5.1.1 {words.recipient}: {words.subject} {words.words}"
        }
        async with SmtpServer(auth=("user", words.password), recipients=parrot) as smtp:
            account = connector.add_account(password=words.password, outgoing=plain_smtp(smtp.port))
            refused = await execute(client, SEND, {"account": account, "message": message})
            assert refused["status"] == "failed"
            for wrong in (
                {**message, "subject": f"{words.subject}\r\n{words.body}"},
                {**message, "to": f"{words.recipient} {words.name}"},
                {**message, "attachments": [{"name": "x", "content": words.attachment}]},
                {**message, "content": [words.body]},
            ):
                request = {"account": account, "message": wrong}
                assert await failing(client, SEND, request) == "InvalidInput"
            account = connector.add_account(
                password=words.wrong_password, outgoing=plain_smtp(smtp.port)
            )
            request = {"account": account, "message": message}
            assert await failing(client, SEND, request) == "CredentialsRejected"
        secret = words.password
        repeats = {"AUTH": f"535 5.7.8 {secret} {base64.b64encode(secret.encode()).decode()}"}
        async with SmtpServer(auth=("user", "x"), replies=repeats) as smtp:
            account = connector.add_account(password=secret, outgoing=plain_smtp(smtp.port))
            request = {"account": account, "message": message}
            assert await failing(client, SEND, request) == "CredentialsRejected"
        said = f"{words.recipient} {words.subject} {words.body} {words.words}"
        for replies in ({"MAIL": f"550 5.7.1 {said}"}, {"DATA": f"451 4.7.1 {said}"}):
            async with SmtpServer(replies=replies) as smtp:
                server = plain_smtp(smtp.port, login="none")
                account = connector.add_account(outgoing=server, max_send_attempts=0)
                refused = await execute(client, SEND, {"account": account, "message": message})
                assert refused["status"] == "failed"
                assert words.body in str(refused["recipients"])
        async with SmtpServer(faults=[Fault("reply", "rst")]) as smtp:
            account = connector.add_account(outgoing=plain_smtp(smtp.port, login="none"))
            lost = await execute(client, SEND, {"account": account, "message": message})
            assert lost["status"] == "unknown"

    async def retrieve(self, stage: Stage, client: Client) -> None:
        words, dovecot = stage.words, stage.dovecot
        user = fresh("user")
        for number in range(2):
            dovecot.deliver(
                user,
                mail(
                    f"{words.subject} {number}",
                    to=words.recipient,
                    text=words.body,
                    attachment=(f"{words.name}.pdf", words.attachment.encode()),
                ),
            )
        account = stage.connector.add_account(
            password=words.password, incoming=incoming(dovecot, username=user)
        )
        callback = {
            "workflow": "Nobody",
            "task_queue": fresh("nobody"),
            "execution_timeout_seconds": 1,
        }
        # With a callback that is encrypted by default and never answered, then without.
        request = {"account": account, "on_email_fetch": callback}
        assert await failing(client, RETRIEVE, request) == "CallbackFailed"
        result = await execute(client, RETRIEVE, {"account": account})
        assert result["retrieved"] == 2

    async def retrieve_badly(self, stage: Stage, client: Client) -> None:
        words, dovecot = stage.words, stage.dovecot
        user = fresh("user")
        account = stage.connector.add_account(
            password=words.password, incoming=incoming(dovecot, username=user)
        )
        request = {"account": account, "folder": words.folder}
        assert await failing(client, RETRIEVE, request) == "FolderNotFound"
        account = stage.connector.add_account(
            password=words.wrong_password, incoming=incoming(dovecot, username=user)
        )
        assert await failing(client, RETRIEVE, {"account": account}) == "CredentialsRejected"
        checked = await execute(client, WorkflowType.CHECK_SERVER_CONNECTION, {"account": account})
        assert not checked["ok"]

    async def break_the_store(self, stage: Stage, client: Client, message: dict[str, Any]) -> None:
        """A large mail waits for its server, and for its bytes, out of reach for a while."""
        connector, port = stage.connector, free_port()
        account = connector.add_account(outgoing=plain_smtp(port, login="none"))
        large = message | {"plain_body": stage.words.body * 8000}
        handle = await client.start_workflow(
            SEND,
            {"account": account, "message": large},
            id=fresh("test/"),
            task_queue=TaskQueue.ORCHESTRATION,
        )
        await progress_of(handle)
        with stage.stores.content_away(connector.settings):
            await asyncio.sleep(2)
        async with SmtpServer(port=port):
            result = await asyncio.wait_for(handle.result(), 20)
        assert result["status"] == "sent"

    async def surprise(self, stage: Stage, client: Client, message: dict[str, Any]) -> None:
        """Something nobody foresaw: a row that another program has spoilt, with a mail's text."""
        words, connector = stage.words, stage.connector
        name = connector.add_account(outgoing=plain_smtp(free_port()))
        with connector.store.database.write() as session:
            row = session.exec(select(AccountRow).where(AccountRow.name == name)).one()
            row.settings = {**row.settings, "email_address": words.body, "full_name": [words.name]}
            session.add(row)
        found = await refusal(client, SEND, {"account": name, "message": message})
        assert found.type == "InternalError"
        assert "ValidationError" in found.message
        assert words.body not in found.message


def assert_lines_name_the_steps(output: str) -> None:
    """Each line is JSON; those about steps name them by ids, and their failures by type."""
    lines = [json.loads(line) for line in output.splitlines()]
    assert {line["level"] for line in lines} >= {"DEBUG", "INFO", "WARNING"}
    steps = [line for line in lines if line["message"].startswith("step ")]
    for step in steps:
        assert {"workflow_id", "run_id", "activity", "attempt", "outcome", "seconds"} <= step.keys()
    assert {"CredentialsRejected", "FolderNotFound", "StoreUnavailable", "InternalError"} <= {
        step.get("error_type") for step in steps
    }
    named = {name for step in steps for name in step if name.endswith("_id")}
    assert named >= {"message_id", "delivery_id", "retrieval_id", "batch_id", "account_id"}


def plain_smtp(port: int, **changes: Any) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "username": "user",
        **changes,
    }


def test_reprs_show_nothing(stage: Stage) -> None:
    word = stage.words.password
    secret = SecretStr(word)
    store = stage.connector.store
    settings = stage.connector.settings.model_copy(
        update={"encryption_keys": secret, "payload_keys": secret}
    )
    endpoint = Endpoint(
        host="h",
        port=1,
        security="tls",  # type: ignore[arg-type]
        login="basic",  # type: ignore[arg-type]
        username="u",
        password=secret,
        timeout=None,  # type: ignore[arg-type]
        check_identity=True,
    )
    key = next(iter((store.keys.payloads or {}).values()))
    shown = [
        repr(thing) + str(thing) + f"{thing}"
        for thing in (settings, endpoint, Secrets(secret, secret), store, store.keys, store.links)
    ]
    for text in shown:
        assert word not in text
        assert repr(key) not in text
        assert repr(store.keys.content) not in text
        assert not any(fernet in text for fernet in store.keys.secrets)
