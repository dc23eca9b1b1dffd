"""One trace from a caller through the workflow to the commands of the mail servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    StartWorkflowInput,
    WorkflowFailureError,
)
from temporalio.contrib.opentelemetry import TracingInterceptor

from models.connection import connect
from models.names import TaskQueue, WorkflowType
from models.wire import data_converter
from tests.e2e.conftest import add_namespace, incoming
from tests.e2e.harness import Connector, connector_settings, fresh
from tests.e2e.mails import mail
from tests.e2e.otlp import Received, Receiver, canary
from tests.e2e.processes import child, python
from tests.smtp_server import SmtpServer
from tests.stores import Stores, store_environment
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot
from tools.temporal import DevServer

SEND, RETRIEVE = WorkflowType.SEND_EMAIL, WorkflowType.RETRIEVE_EMAIL_MESSAGES


def lineage(span: Received, spans: list[Received]) -> list[str]:
    """Names from the span up to the first of them."""
    by_id = {each.span_id: each for each in spans}
    names = [span.name]
    while span.parent_id in by_id:
        span = by_id[span.parent_id]
        names.append(span.name)
    return names


def exported(spans: InMemorySpanExporter) -> dict[str, tuple[bytes, bytes]]:
    """Trace and span id of what the caller itself has traced, by name."""
    found = {}
    for span in spans.get_finished_spans():
        context = span.get_span_context()
        assert context is not None
        found[span.name] = (context.trace_id.to_bytes(16), context.span_id.to_bytes(8))
    return found


async def run(client: Client, kind: str, request: Any) -> Any:
    return await client.execute_workflow(
        kind, request, id=fresh("test/"), task_queue=TaskQueue.ORCHESTRATION
    )


async def test_one_trace_without_a_secret(
    stores: Stores,
    tmp_path: Path,
    temporal_server: DevServer,
    test_ca: TestCA,
    dovecot: Dovecot,
) -> None:
    namespace = add_namespace(temporal_server)
    connector = Connector(
        connector_settings(
            stores, tmp_path, temporal_server.address, namespace, ca_file=test_ca.ca_file
        )
    )
    kinds = ("password", "subject", "body", "recipient", "folder", "words", "user")
    words = {kind: canary(kind) for kind in kinds}
    mine = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(mine))
    caller = await connect(
        connector.settings,
        data_converter(connector.store.keys.payloads),
        interceptors=[TracingInterceptor(provider.get_tracer("caller"))],
    )
    refusal = f"550 5.1.1 {words['words']} {words['recipient']}"
    async with (
        Receiver() as receiver,
        SmtpServer(auth=(words["user"], words["password"])) as smtp,
        SmtpServer(recipients={f"{words['recipient']}@example.net": refusal}) as rude,
    ):
        environment = {
            **store_environment(connector.settings),
            "EMAIL_CONNECTOR_TEMPORAL_ADDRESS": temporal_server.address,
            "EMAIL_CONNECTOR_TEMPORAL_NAMESPACE": namespace,
            "EMAIL_CONNECTOR_CA_FILE": str(test_ca.ca_file),
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        with child(
            python("worker.py"),
            tmp_path / "worker.log",
            ready="worker ready",
            environment=environment,
        ):
            server = {"host": "127.0.0.1", "port": smtp.port, "security": "none"}
            account = connector.add_account(
                password=words["password"], outgoing=server | {"username": words["user"]}
            )
            message = {
                "to": f"{words['recipient']}@example.net",
                "subject": words["subject"],
                "content": words["body"],
            }
            sent = await run(caller, SEND, {"account": account, "message": message})
            assert sent["status"] == "sent"
            await assert_one_trace(receiver, exported(mine)[f"StartWorkflow:{SEND}"])

            # What goes wrong carries texts: of servers, of folders, of ours.
            wrong = connector.add_account(
                password=words["words"], outgoing=server | {"username": words["user"]}
            )
            with pytest.raises(WorkflowFailureError):
                await run(caller, SEND, {"account": wrong, "message": message})
            harsh = connector.add_account(
                outgoing={
                    "host": "127.0.0.1",
                    "port": rude.port,
                    "security": "none",
                    "login": "none",
                }
            )
            refused = await run(caller, SEND, {"account": harsh, "message": message})
            assert words["words"] in str(refused)
            user = fresh("user")
            dovecot.deliver(user, mail(words["subject"], text=words["body"]))
            box = connector.add_account(
                password=dovecot.password, incoming=incoming(dovecot, username=user)
            )
            assert (await run(caller, RETRIEVE, {"account": box}))["retrieved"] == 1
            with pytest.raises(WorkflowFailureError):
                await run(caller, RETRIEVE, {"account": box, "folder": words["folder"]})
            # Without a caller's trace the workflow begins one; a header that is nonsense is none.
            stranger = await connector.client()
            read = {"message_id": sent["message_id"]}
            for header in (None, b"[1]", b'{"traceparent": 5}', b"\xff"):
                await read_with(stranger, read, header)

            def all_there(spans: list[Received]) -> bool:
                names = [span.name for span in spans]
                return names.count("RunActivity:content.read_message") == 4 and "EXAMINE" in names

            await receiver.wait_for(all_there)
    connector.store.close()

    everything = b"\0".join(receiver.raw)
    assert [kind for kind, word in words.items() if word.encode() in everything] == []
    assert b"email-connector" in everything  # the service's name
    names = {span.name for span in receiver.spans}
    assert {"CAPABILITY", "AUTHENTICATE", "EXAMINE", "UID SEARCH", "UID FETCH"} <= names
    failed = [s for s in receiver.spans if s.attributes.get("error.type") == "FolderNotFound"]
    assert failed
    reads = [s for s in receiver.spans if s.name == "RunActivity:content.read_message"]
    runs = [s for s in receiver.spans if s.name == "RunWorkflow:GetEmailMessage"]
    assert {s.trace_id for s in reads} == {s.trace_id for s in runs}
    assert len({s.trace_id for s in reads}) == 4


async def assert_one_trace(receiver: Receiver, start: tuple[bytes, bytes]) -> None:
    """The send is one trace, from the caller to the commands."""
    trace_id, span_id = start

    last = "RunActivity:sending.transmit_delivery"
    await receiver.wait_for(lambda spans: (trace_id, last) in {(s.trace_id, s.name) for s in spans})
    ours = [span for span in receiver.spans if span.trace_id == trace_id]
    commands = [s for s in ours if s.attributes.get("network.protocol.name") == "smtp"]
    assert [s.name for s in commands] == [
        "(connect)",
        "(greeting)",
        "EHLO",
        "AUTH",
        "(answer)",  # to the challenge of CRAM-MD5: no verb, and nothing of what it says
        "MAIL",
        "RCPT",
        "DATA",
        "(content)",
        "(final reply)",  # and no QUIT: the connection is kept for the next mail
    ]
    for command in commands:
        assert command.attributes["server.address"] == "127.0.0.1"
        assert lineage(command, ours)[1:] == [
            "RunActivity:sending.transmit_delivery",
            "StartActivity:sending.transmit_delivery",
        ]
    codes = {s.name: s.attributes.get("smtp.reply_code") for s in commands}
    assert codes["MAIL"] == 250
    assert codes["DATA"] == 354
    # The SDK hangs all spans of a workflow on the one that started it.
    tops = {s.name for s in ours if s.parent_id == span_id}
    assert {f"RunWorkflow:{SEND}", "StartActivity:sending.transmit_delivery"} <= tops


async def read_with(client: Client, request: Any, header: bytes | None) -> None:
    """Read a mail by a workflow that was started with a trace header of our making."""
    headers = (
        {"_tracer-data": Payload(metadata={"encoding": b"json/plain"}, data=header)}
        if header is not None
        else {}
    )

    class Forged(OutboundInterceptor):
        async def start_workflow(self, input: StartWorkflowInput) -> Any:
            input.headers = headers
            return await super().start_workflow(input)

    class Forging(Interceptor):
        def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
            return Forged(next)

    forging = Client(**(client.config() | {"interceptors": [Forging()]}))
    await run(forging, WorkflowType.GET_EMAIL_MESSAGE, request)
