"""Webhooks through real Temporal: acknowledged, tried again, dead letters, delivered again."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError

from models.ids import callback_workflow_id
from models.names import TaskQueue, WorkflowType
from models.tables import LogEntry, Retrieval, WebhookAttempt, WebhookDelivery, WebhookKey
from models.web import parse_url
from tests.e2e.conftest import MakeConnector, add_namespace, incoming
from tests.e2e.harness import Connector, connector_settings, execute, fresh, refusal
from tests.e2e.mails import delivered, mail
from tests.e2e.processes import ROOT, child, python
from tests.e2e.test_secrets import singing, unpacked
from tests.stores import Stores, store_environment
from tests.web.receiver import LOOPBACK, Answer, Receiver, Request, breaks, hangs, redirects, says
from tools.servers.dovecot import Dovecot
from tools.servers.process import free_port
from tools.temporal import DevServer

DELIVER, RETRIEVE = WorkflowType.DELIVER_WEBHOOK, WorkflowType.RETRIEVE_EMAIL_MESSAGES
DATA = {"order": 4711, "name": "Zoë"}


@pytest.fixture(scope="module")
def connector(make_connector: MakeConnector) -> Connector:
    """A connector that may reach the receivers of this file."""
    return make_connector(egress_allow=[LOOPBACK])


@pytest.fixture
def account(connector: Connector, dovecot: Dovecot, user: str) -> str:
    return connector.add_account(
        password=dovecot.password, incoming=incoming(dovecot, username=user)
    )


@pytest.fixture
def mails(dovecot: Dovecot, user: str) -> list[bytes]:
    raws = [mail(f"Mail {number}") for number in range(1, 4)]
    for raw in raws:
        dovecot.deliver(user, raw)
    dovecot.create_folder(user, "Done")
    return raws


def cli(connector: Connector, *arguments: str) -> tuple[int, Any]:
    """Run a command as an operator does; returns its code and its JSON."""
    settings = connector.settings
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("EMAIL_CONNECTOR_")},
        **store_environment(settings),
        "EMAIL_CONNECTOR_TEMPORAL_ADDRESS": settings.temporal_address or "",
        "EMAIL_CONNECTOR_TEMPORAL_NAMESPACE": settings.temporal_namespace or "",
    }
    done = subprocess.run(
        python("-m", "starter", *arguments, "--json"),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


async def run(connector: Connector, *arguments: str) -> Any:
    """The same beside a running receiver; it must succeed."""
    code, document = await asyncio.to_thread(cli, connector, *arguments)
    assert code == 0, document
    return document


async def secrets_of(connector: Connector, url: str) -> list[str]:
    shown: list[str] = (await run(connector, "webhook", "secret", "show", url))["secrets"]
    return shown


def signatures(request: Request, secrets: Sequence[str]) -> list[str]:
    """What the signatures must be, by the words of the standard."""
    stamped = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}."
    return [
        "v1,"
        + base64.b64encode(
            hmac.new(
                base64.b64decode(secret.split("whsec_")[1]),
                stamped.encode() + request.body,
                hashlib.sha256,
            ).digest()
        ).decode()
        for secret in secrets
    ]


def event(receiver: Receiver, **changes: Any) -> dict[str, Any]:
    """The input of ``DeliverWebhook``."""
    return {
        "webhook": receiver.url,
        "type": "order.created",
        "data": DATA,
        "retry_interval_seconds": 0.05,
        **changes,
    }


def hook(receiver: Receiver, **changes: Any) -> dict[str, Any]:
    """A callback specification."""
    return {"webhook": receiver.url, "retry_interval_seconds": 0.05, **changes}


def row(connector: Connector, webhook_id: str) -> WebhookDelivery:
    (found,) = connector.rows(WebhookDelivery, WebhookDelivery.id == webhook_id)
    assert isinstance(found, WebhookDelivery)
    return found


def attempts(connector: Connector, webhook_id: str) -> list[WebhookAttempt]:
    found = connector.rows(WebhookAttempt, WebhookAttempt.webhook_id == webhook_id)
    return sorted(found, key=lambda attempt: attempt.started_at)


def timeline(connector: Connector, webhook_id: str) -> list[str]:
    entries = connector.rows(LogEntry, col(LogEntry.event).startswith("webhook_"))
    entries.sort(key=lambda entry: entry.id)
    return [e.event for e in entries if e.detail.get("webhook") == webhook_id]


class TestDelivery:
    async def test_an_event_is_posted_signed_and_written_down(
        self, connector: Connector, client: Client
    ) -> None:
        async with Receiver() as receiver:
            began = int(time.time())
            result = await execute(client, DELIVER, event(receiver))
            (request,) = receiver.requests
            secrets = await secrets_of(connector, receiver.url)
        webhook_id = result["webhook_id"]
        assert result == {"webhook_id": webhook_id, "status_code": 204, "attempts": 1}

        assert (request.method, request.headers["content-type"]) == ("POST", "application/json")
        body = json.loads(request.body)
        assert body == {
            "id": webhook_id,
            "type": "order.created",
            "created_at": body["created_at"],
            "data": DATA,
        }
        assert request.headers["webhook-id"] == webhook_id
        assert began <= int(request.headers["webhook-timestamp"]) <= time.time()
        assert len(secrets) == 1
        assert request.headers["webhook-signature"].split(" ") == signatures(request, secrets)

        written = row(connector, webhook_id)
        assert (written.state, written.attempts, written.error_type) == ("delivered", 1, None)
        assert written.body == request.body
        assert receiver.url.encode() not in written.url
        (attempt,) = attempts(connector, webhook_id)
        assert (attempt.status_code, attempt.error_type) == (204, None)
        assert attempt.duration_ms is not None
        assert timeline(connector, webhook_id) == ["webhook_delivered"]

    async def test_each_receiver_has_a_secret_of_its_own_and_it_rotates(
        self, connector: Connector, client: Client
    ) -> None:
        async with Receiver() as first, Receiver() as second:
            old, other = [await secrets_of(connector, r.url) for r in (first, second)]
            assert old[0] != other[0]
            assert await secrets_of(connector, first.url + "/other?path") == old
            await run(connector, "webhook", "secret", "rotate", "--keep-hours", "1")
            both = await secrets_of(connector, first.url)
            assert both[1:] == old
            await execute(client, DELIVER, event(first))
            signature = first.requests[0].headers["webhook-signature"]
            assert signature.split(" ") == signatures(first.requests[0], both)
            # At once, for a secret that got out.
            await run(connector, "webhook", "secret", "rotate", "--keep-hours", "0")
            (newest,) = await secrets_of(connector, first.url)
            assert newest not in both
            await execute(client, DELIVER, event(first))
            signature = first.requests[1].headers["webhook-signature"]
            assert [signature] == signatures(first.requests[1], [newest])

    async def test_what_passes_is_tried_again_with_the_same_bytes(
        self, connector: Connector, client: Client
    ) -> None:
        answers: list[Answer] = [
            says(500),
            says(503),
            says(408),
            says(425),
            says(429),
            breaks,
            says(599),
            says(201),
        ]
        async with Receiver(answers) as receiver:
            result = await execute(client, DELIVER, event(receiver))
        assert (result["status_code"], result["attempts"]) == (201, 8)
        assert len({r.body for r in receiver.requests}) == 1
        assert {r.headers["webhook-id"] for r in receiver.requests} == {result["webhook_id"]}
        found = attempts(connector, result["webhook_id"])
        assert [a.status_code for a in found] == [500, 503, 408, 425, 429, None, 599, 201]
        assert {a.error_type for a in found[:-1]} == {"ServerUnavailable", "ConnectionLost"}

    async def test_retry_after_is_obeyed(self, connector: Connector, client: Client) -> None:
        async with Receiver([says(429, "Retry-After: 2"), says(200)]) as receiver:
            result = await execute(client, DELIVER, event(receiver))
        first, second = attempts(connector, result["webhook_id"])
        assert (second.started_at - first.started_at).total_seconds() >= 2

    async def test_a_receiver_that_is_down_for_a_while(
        self, connector: Connector, client: Client
    ) -> None:
        later = Receiver(port=free_port())
        handle = await client.start_workflow(
            DELIVER, event(later), id=fresh("test/"), task_queue=TaskQueue.ORCHESTRATION
        )
        here = WebhookAttempt.origin == parse_url(later.url).origin
        while not connector.rows(WebhookAttempt, here):  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0.05)
        async with later:
            result = await handle.result()
        assert result["attempts"] > 1
        assert attempts(connector, result["webhook_id"])[0].error_type == "ConnectionFailed"

    @pytest.mark.parametrize(
        ("answer", "type"),
        [
            (says(400), "ServerRefused"),
            (says(401), "ServerRefused"),
            (says(410), "ServerRefused"),
            (says(304), "ServerRefused"),
            (redirects(302, "/x"), "RedirectRefused"),
            (redirects(307, "http://169.254.169.254/latest/meta-data/"), "EgressRefused"),
            (redirects(307, "http://127.1/"), "RedirectRefused"),
            (redirects(308, "http://[::ffff:7f00:1]/"), "EgressRefused"),
        ],
    )
    async def test_what_cannot_help_is_tried_once(
        self, connector: Connector, client: Client, answer: Answer, type: str
    ) -> None:
        key = fresh("key")
        async with Receiver([answer]) as receiver:
            found = await refusal(client, DELIVER, event(receiver, idempotency_key=key))
            assert len(receiver.requests) == 1
        assert found.type == type
        (webhook,) = [
            w
            for w in connector.rows(WebhookDelivery, WebhookDelivery.state == "dead")
            if w.id in found.message
        ]
        assert (webhook.attempts, webhook.error_type) == (1, type)
        assert timeline(connector, webhook.id) == ["webhook_dead"]

    @pytest.mark.parametrize(
        "url",
        [
            "https://127.0.0.2/",
            "https://[::1]/",
            "https://localhost.localdomain:1/",
            "http://10.0.0.1/",
            "https://169.254.169.254/",
        ],
    )
    async def test_the_worker_guards_what_it_connects_to(self, client: Client, url: str) -> None:
        wanted = {"webhook": url, "type": "x", "data": {}, "max_attempts": 1}
        assert (await refusal(client, DELIVER, wanted)).type in ("EgressRefused", "HostNotFound")

    async def test_the_policy_ends(self, connector: Connector, client: Client) -> None:
        async with Receiver([says(500)]) as receiver:
            found = await refusal(client, DELIVER, event(receiver, max_attempts=3))
            assert len(receiver.requests) == 3
            assert found.type == "ServerUnavailable"
            wanted = event(receiver, give_up_after_seconds=1, retry_interval_seconds=30)
            found = await refusal(client, DELIVER, wanted)
            assert found.seconds < 2
            assert len(receiver.requests) == 4

    async def test_a_cancelled_one(self, connector: Connector, client: Client) -> None:
        key = fresh("key")
        async with Receiver([hangs]) as receiver:
            handle = await client.start_workflow(
                DELIVER,
                event(receiver, idempotency_key=key),
                id=fresh("test/"),
                task_queue=TaskQueue.ORCHESTRATION,
            )
            while not receiver.requests:  # noqa: ASYNC110 - nothing tells us
                await asyncio.sleep(0.02)
            await handle.cancel()
            with pytest.raises(WorkflowFailureError) as caught:
                await handle.result()
            assert isinstance(caught.value.cause, CancelledError)
        webhook_id = receiver.requests[0].headers["webhook-id"]
        assert row(connector, webhook_id).state == "cancelled"
        assert timeline(connector, webhook_id) == ["webhook_cancelled"]


class TestIdentity:
    async def test_a_key_is_one_event(self, connector: Connector, client: Client) -> None:
        key = fresh("key")
        async with Receiver() as receiver:
            first = await execute(client, DELIVER, event(receiver, idempotency_key=key))
            again = await execute(client, DELIVER, event(receiver, idempotency_key=key))
            assert again == {"webhook_id": first["webhook_id"], "status_code": None, "attempts": 0}
            other = event(receiver, idempotency_key=key, data={})
            found = await refusal(client, DELIVER, other)
            assert (found.type, found.field) == ("IdempotencyConflict", "idempotency_key")
            assert len(receiver.requests) == 1
            without = [await execute(client, DELIVER, event(receiver)) for _ in range(2)]
        assert len({first["webhook_id"], *(w["webhook_id"] for w in without)}) == 3

    async def test_only_one_workflow_delivers_it(
        self, connector: Connector, client: Client
    ) -> None:
        key = fresh("key")
        async with Receiver([hangs]) as receiver:
            handle = await client.start_workflow(
                DELIVER,
                event(receiver, idempotency_key=key),
                id=fresh("test/"),
                task_queue=TaskQueue.ORCHESTRATION,
            )
            while not receiver.requests:  # noqa: ASYNC110 - nothing tells us
                await asyncio.sleep(0.02)
            wanted = event(receiver, idempotency_key=key)
            assert (await refusal(client, DELIVER, wanted)).type == "LeaseLost"
            webhook_id = receiver.requests[0].headers["webhook-id"]
            again = {"webhook": receiver.url, "redeliver": webhook_id}
            assert (await refusal(client, DELIVER, again)).type == "LeaseLost"
            await handle.terminate()
            # What nobody delivers any more can be taken up.
            receiver.answers = [says(200)]
            result = await execute(client, DELIVER, again)
        assert result["webhook_id"] == webhook_id
        assert len({r.body for r in receiver.requests}) == 1

    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            ({"webhook": "https://u:p@a.example/"}, "webhook"),
            ({"webhook": "ftp://a.example/"}, "webhook"),
            ({"webhook": "https://2130706433/"}, "webhook"),
            ({"webhook": None}, "webhook"),
            ({"data": [1]}, "data"),
            ({"data": None}, "data"),
            ({"data": {"x": "y" * 70_000}}, "data"),
            ({"type": None}, "type"),
            ({"type": "a b"}, "type"),
            ({"batch_id": "x"}, "batch_id"),
            ({"data": None, "batch_id": "nothing"}, "batch_id"),
            ({"data": None, "redeliver": "x"}, "type"),
            ({"max_attempts": 0}, "max_attempts"),
            ({"surprise": 1}, "surprise"),
        ],
    )
    async def test_bad_input(self, connector: Connector, wrong: dict[str, Any], field: str) -> None:
        client = await connector.client()
        wanted = {"webhook": "https://a.example/", "type": "x", "data": {}} | wrong
        wanted = {k: v for k, v in wanted.items() if v is not None}
        found = await refusal(client, DELIVER, wanted)
        assert (found.type, found.field) == ("InvalidInput", field)
        assert found.seconds < 2

    async def test_redelivering_nothing(self, connector: Connector) -> None:
        client = await connector.client()
        wanted = {"webhook": "https://a.example/", "redeliver": "nothing"}
        assert (await refusal(client, DELIVER, wanted)).type == "WebhookNotFound"
        code, document = await asyncio.to_thread(cli, connector, "webhook", "redeliver", "nothing")
        assert (code, document["error"]["type"]) == (1, "WebhookNotFound")


class TestRetrieval:
    async def test_mails_are_moved_only_after_a_2xx(
        self,
        connector: Connector,
        client: Client,
        account: str,
        user: str,
        dovecot: Dovecot,
        mails: Sequence[bytes],
    ) -> None:
        inbox = []

        async def looks(
            request: Request, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            folder = dovecot.maildir(user)
            inbox.append(sum(1 for name in ("new", "cur") for _ in (folder / name).iterdir()))
            # Each batch is refused once first.
            await says(200 if len(inbox) % 2 == 0 else 503)(request, _reader, writer)

        async with Receiver([looks]) as receiver:
            result = await execute(
                client,
                RETRIEVE,
                {
                    "account": account,
                    "handling": "move",
                    "move_folder": "Done",
                    "replicate_everything": True,
                    "batch_size": 2,
                    "on_email_fetch": hook(receiver),
                    "on_fetch_complete": hook(receiver),
                },
            )
        assert (result["retrieved"], result["handled"]) == (3, 3)
        assert inbox[:2] == [3, 3]
        # The first two are moved while the third is told, which stays for as long.
        assert set(inbox[2:4]) <= {3, 1}
        assert len(delivered(dovecot, user, "Done", 3)) == 3
        events = [json.loads(r.body) for r in receiver.requests]
        assert [e["type"] for e in events] == ["on_email_fetch"] * 4 + ["on_fetch_complete"] * 2
        first, _, second, *_ = events
        assert events[1] == first
        assert [m["subject"] for m in first["data"]["messages"]] == ["Mail 1", "Mail 2"]
        assert [m["subject"] for m in second["data"]["messages"]] == ["Mail 3"]
        assert events[4]["data"]["retrieved"] == 3
        assert len({e["id"] for e in events}) == 3
        assert {row(connector, e["id"]).account_id for e in events} == {result["account_id"]}

        # The batch's envelopes stand in the store, not in the history of the delivery.
        workflow_id = callback_workflow_id("on_email_fetch", first["data"]["batch_id"])
        history = await client.get_workflow_handle(workflow_id).fetch_history()
        codec = client.data_converter.payload_codec
        assert codec
        started = history.events[0].workflow_execution_started_event_attributes
        (payload,) = await codec.decode(started.input.payloads)
        assert first["data"]["batch_id"].encode() in payload.data
        assert b"Mail 1" not in payload.data

    async def test_a_dead_letter_keeps_the_mails_and_is_delivered_again(
        self,
        connector: Connector,
        client: Client,
        account: str,
        user: str,
        dovecot: Dovecot,
        mails: Sequence[bytes],
    ) -> None:
        async with Receiver([says(500)]) as broken, Receiver() as other:
            wanted = {
                "account": account,
                "handling": "remove",
                "replicate_everything": True,
                "on_email_fetch": hook(broken, max_attempts=2),
                "on_fetch_error": hook(other),
            }
            found = await refusal(client, RETRIEVE, wanted)
            assert (found.type, found.field) == ("CallbackFailed", "on_email_fetch")
            assert len(broken.requests) == 2
            assert len(delivered(dovecot, user, number=3)) == 3
            (told,) = (json.loads(r.body) for r in other.requests)
            assert told["type"] == "on_fetch_error"
            assert told["data"]["error"]["type"] == "CallbackFailed"

            webhook_id = broken.requests[0].headers["webhook-id"]
            listed = await run(connector, "webhook", "list", "--dead")
            (dead,) = [w for w in listed if w["id"] == webhook_id]
            assert (dead["state"], dead["attempts"]) == ("dead", 2)
            assert dead["error_type"] == "ServerUnavailable"
            shown = await run(connector, "webhook", "show", webhook_id)
            assert [r["status_code"] for r in shown["requests"]] == [500, 500]
            assert "body" not in shown

            result = await run(connector, "webhook", "redeliver", webhook_id, "--url", other.url)
            assert (result["webhook_id"], result["status_code"]) == (webhook_id, 204)
            again = other.requests[-1]
            assert again.body == broken.requests[0].body
            assert again.headers["webhook-id"] == webhook_id
            secrets = await secrets_of(connector, other.url)
            assert again.headers["webhook-signature"].split(" ") == signatures(again, secrets)
            assert row(connector, webhook_id).state == "delivered"
            assert timeline(connector, webhook_id) == [
                "webhook_dead",
                "webhook_redelivery",
                "webhook_delivered",
            ]
            # To receive an event is not to take the mails over: they are of the next run.
            assert len(delivered(dovecot, user, number=3)) == 3
            result = await execute(client, RETRIEVE, wanted | {"on_email_fetch": hook(other)})
            assert (result["retrieved"], result["handled"]) == (3, 3)
        old, new = json.loads(again.body), json.loads(other.requests[-1].body)
        assert old["id"] != new["id"]
        assert old["data"]["batch_id"] != new["data"]["batch_id"]
        assert [m["id"] for m in old["data"]["messages"]] == [
            m["id"] for m in new["data"]["messages"]
        ]

    async def test_a_deleted_account_takes_its_events_along(
        self, connector: Connector, client: Client, account: str, mails: Sequence[bytes]
    ) -> None:
        async with Receiver() as receiver:
            wanted = {"account": account, "on_email_fetch": hook(receiver)}
            result = await execute(client, RETRIEVE, wanted)
        webhook_id = receiver.requests[0].headers["webhook-id"]
        with connector.store.database.write() as session:
            connector.store.accounts.delete(session, account)
        assert connector.rows(WebhookDelivery, WebhookDelivery.id == webhook_id) == []
        assert connector.rows(WebhookAttempt, WebhookAttempt.webhook_id == webhook_id) == []
        assert connector.rows(Retrieval, Retrieval.id == result["retrieval_id"]) == []

    async def test_also_one_that_is_under_way(
        self, connector: Connector, client: Client, account: str, mails: Sequence[bytes]
    ) -> None:
        async def deletes(
            request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            with connector.store.database.write() as session:
                connector.store.accounts.delete(session, account)
            await says(503)(request, reader, writer)

        async with Receiver([deletes]) as receiver:
            wanted = {"account": account, "on_email_fetch": hook(receiver)}
            found = await refusal(client, RETRIEVE, wanted)
            # Nobody goes on posting what is gone.
            assert len(receiver.requests) == 1
        assert found.type == "CallbackFailed"

    @pytest.mark.parametrize("kind", ["on_email_fetch", "on_fetch_complete", "on_fetch_error"])
    @pytest.mark.parametrize(
        ("callback", "field"),
        [
            ({"webhook": "http://u@a.example/"}, "webhook"),
            ({"webhook": "https://a.example/", "workflow": "X"}, "workflow"),
            ({"webhook": "https://a.example/", "task_queue": "X"}, "task_queue"),
            ({"webhook": "https://a.example/", "payloads": "plain"}, "payloads"),
            ({"webhook": "https://a.example/", "surprise": 1}, "surprise"),
            ({"webhook": 7}, "webhook"),
            ({"workflow": "X"}, "task_queue"),
            ({"url": "https://a.example/"}, "workflow"),
            ({}, "workflow"),
            ("https://a.example/", None),
        ],
    )
    async def test_a_bad_callback_is_named(
        self, connector: Connector, kind: str, callback: Any, field: str | None
    ) -> None:
        client = await connector.client()
        found = await refusal(client, RETRIEVE, {"account": "x", kind: callback})
        assert (found.type, found.field) == ("InvalidInput", f"{kind}.{field}" if field else kind)


class TestCommandLine:
    async def test_a_url_is_a_callback(
        self, connector: Connector, dovecot: Dovecot, user: str, mails: Sequence[bytes]
    ) -> None:
        account = connector.add_account(
            password=dovecot.password, incoming=incoming(dovecot, username=user)
        )
        async with Receiver() as receiver:
            await run(connector, "retrieve", "--account", account, "--on-email-fetch", receiver.url)
            assert len(json.loads(receiver.requests[0].body)["data"]["messages"]) == 3

    async def test_a_secret_needs_a_url(self, connector: Connector) -> None:
        code, document = await asyncio.to_thread(
            cli, connector, "webhook", "secret", "show", "a.example"
        )
        assert (code, document["error"]["field"]) == (1, "url")


_DEBUGGED_WORKER = """
import asyncio, logging
logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s %(message)s")
import worker
asyncio.run(worker.main())
"""


class Workers:
    """A connector whose worker is a process that can be killed."""

    def __init__(self, stores: Stores, folder: Path, server: DevServer) -> None:
        self.namespace = add_namespace(server)
        self.folder = folder
        self.server = server
        self.connector = Connector(
            connector_settings(
                stores, folder / "data", server.address, self.namespace, egress_allow=[LOOPBACK]
            )
        )

    def start(self, name: str) -> Any:
        environment = {
            **store_environment(self.connector.settings),
            "EMAIL_CONNECTOR_TEMPORAL_ADDRESS": self.server.address,
            "EMAIL_CONNECTOR_TEMPORAL_NAMESPACE": self.namespace,
            "EMAIL_CONNECTOR_EGRESS_ALLOW": json.dumps([LOOPBACK]),
            "EMAIL_CONNECTOR_HEARTBEAT_TIMEOUT_SECONDS": "3",
        }
        return child(
            python("-c", _DEBUGGED_WORKER),
            self.folder / f"{name}.log",
            ready="worker ready",
            environment=environment,
        )


@pytest.fixture
def workers(stores: Stores, tmp_path: Path, temporal_server: DevServer) -> Iterator[Workers]:
    made = Workers(stores, tmp_path, temporal_server)
    yield made
    made.connector.store.close()


class TestKilledWorkers:
    @pytest.mark.parametrize("when", ["during", "between"])
    async def test_the_event_goes_out_again_under_its_id(self, workers: Workers, when: str) -> None:
        client = await workers.connector.client()
        answers: list[Answer] = [hangs if when == "during" else says(503), says(200)]
        async with Receiver(answers) as receiver:
            with workers.start("first") as first:
                handle = await client.start_workflow(
                    DELIVER,
                    event(receiver, retry_interval_seconds=2),
                    id=fresh("test/"),
                    task_queue=TaskQueue.ORCHESTRATION,
                )
                while not receiver.requests:  # noqa: ASYNC110 - nothing tells us
                    await asyncio.sleep(0.02)
                if when == "between":
                    webhook_id = receiver.requests[0].headers["webhook-id"]
                    (attempt,) = attempts(workers.connector, webhook_id)
                    while attempt.duration_ms is None:
                        await asyncio.sleep(0.02)
                        (attempt,) = attempts(workers.connector, webhook_id)
                os.kill(first.pid, signal.SIGKILL)
            with workers.start("second"):
                result = await handle.result()
        assert result["attempts"] == 2
        assert {r.headers["webhook-id"] for r in receiver.requests} == {result["webhook_id"]}
        assert len({r.body for r in receiver.requests}) == 1
        found = attempts(workers.connector, result["webhook_id"])
        assert [a.status_code for a in found] == [None if when == "during" else 503, 200]


class TestCanaries:
    async def test_neither_secret_nor_content_nor_url_is_told(self, workers: Workers) -> None:
        connector = workers.connector
        client, words = await connector.client(), [f"canary-{uuid.uuid4().hex}" for _ in range(3)]
        token, value, said = words
        answers: list[Answer] = [
            says(500, f"X-Said: {said}", f"Retry-After: {said}", body=said.encode()),
            breaks,
            redirects(302, f"/{said}"),
        ]
        with workers.start("worker") as process:
            async with Receiver(answers) as receiver:
                wanted = event(receiver, data={"x": value})
                wanted["webhook"] += f"/{token}?token={token}"
                with pytest.raises(WorkflowFailureError) as caught:
                    await execute(client, DELIVER, wanted)
                cause = caught.value.cause
                assert isinstance(cause, ApplicationError)
                assert singing(words, str(cause).encode()) == []
                assert singing([value], receiver.requests[0].body) == [value]
                webhook_id = receiver.requests[0].headers["webhook-id"]
                for _ in range(2):
                    code, document = await asyncio.to_thread(
                        cli, connector, "webhook", "redeliver", webhook_id
                    )
                    assert code == 1
                    assert singing(words, json.dumps(document).encode()) == []
                listed = [
                    await run(connector, "webhook", "list"),
                    await run(connector, "webhook", "show", webhook_id),
                ]
                assert singing(words, json.dumps(listed).encode()) == []
                with connector.store.database.write() as session:
                    origin = parse_url(receiver.url).origin
                    secrets = connector.store.webhooks.secrets(session, origin)
            output = process.output
        assert "DEBUG" in output
        keys = [secret.removeprefix("whsec_") for secret in secrets]
        assert singing([*words, *keys], output.encode()) == []

        stranger = await connector.stranger()
        histories = [
            (await stranger.get_workflow_handle(w.id, run_id=w.run_id).fetch_history()).to_json()
            async for w in stranger.list_workflows()
        ]
        assert len(histories) >= 3
        for history in histories:
            assert singing([*words, *keys], unpacked(history)) == []
        # The URL's path and the keys are sealed in the database as well.
        rows = [
            repr(found.model_dump())
            for table in (WebhookDelivery, WebhookAttempt, WebhookKey, LogEntry)
            for found in connector.rows(table)
        ]
        assert len(rows) >= 6
        assert singing([token, said, *keys], "".join(rows).encode()) == []
