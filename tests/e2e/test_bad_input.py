"""Bad input: a typed error that names the field, soon, and nothing half-stored.

Inputs are written as another program would write them: plain JSON, by a client without our models.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowContinuedAsNewError, WorkflowFailureError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.service import RPCError, RPCStatusCode

from models.delivery import SendEmailInput
from models.message import AttachmentPosition
from models.names import TaskQueue, WorkflowType
from models.tables import Delivery, Message, Recipient
from models.wire import AesGcmCodec, first_problem
from starter.attachments import File, attach
from tests.e2e.conftest import MakeConnector, incoming, outgoing
from tests.e2e.harness import Connector, Refusal, execute, fresh, progress_of, refusal
from tests.e2e.mails import delivered, mail, parsed
from tests.smtp_server import SmtpServer
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot
from tools.servers.postfix import Postfix
from tools.servers.process import free_port

SEND, RETRIEVE = WorkflowType.SEND_EMAIL, WorkflowType.RETRIEVE_EMAIL_MESSAGES
SECONDS = 2.0
"""What a caller waits for an answer at most."""

# Every line separator and the control characters that a header must not have.
LINE_BREAKS = ("\r\n", "\n", "\r", "\v", "\f", "\x00", "\x1c", "\x85", "\u2028", "\u2029")


def payload(data: bytes, encoding: bytes = b"json/plain") -> RawValue:
    return RawValue(Payload(metadata={"encoding": encoding}, data=data))


def send_input(account: str = "nobody", **message: Any) -> dict[str, Any]:
    described = {"to": "to@example.net", "content": "x"} | message
    return {"account": account, "message": {k: v for k, v in described.items() if v is not None}}


async def refused(
    connector: Connector, client: Client, kind: str, *inputs: Any, type: str, field: str | None
) -> Refusal:
    """Assert that a request is refused as it should be; returns how."""
    before = connector.counts()
    found = await refusal(client, kind, *inputs)
    if found.seconds >= SECONDS:  # a machine that is busy elsewhere: nobody waits so long twice
        found = await refusal(client, kind, *inputs)
    assert (found.type, found.field) == (type, field), found
    assert found.seconds < SECONDS
    assert connector.counts() == before
    if field:
        assert field in found.message or type not in ("InvalidInput", "PayloadUnreadable")
    return found


class TestShape:
    """What is not one JSON object of the right shape."""

    @pytest.mark.parametrize("kind", list(WorkflowType))
    async def test_not_one_object(
        self, connector: Connector, client: Client, kind: WorkflowType
    ) -> None:
        before = connector.counts()
        given: list[list[Any]] = [
            [],
            [None],
            [[1, 2]],
            ["account"],
            [5],
            [{"account": "a"}, {"account": "b"}],
        ]
        answers = await asyncio.gather(*(refusal(client, kind, *inputs) for inputs in given))
        for inputs, answer in zip(given, answers, strict=True):
            assert answer.type == "InvalidInput", inputs
            assert answer.field, inputs
            assert answer.seconds < SECONDS
        assert connector.counts() == before

    @pytest.mark.parametrize(
        ("kind", "body", "field"),
        [
            (SEND, {}, "account"),
            (SEND, {"account": "a"}, "message"),
            (SEND, {"account": 5, "message": {"to": "a@example.net", "content": "x"}}, "account"),
            (SEND, {"account": "a", "message": "hello"}, "message"),
            (SEND, send_input(to=None), "message.to"),
            (SEND, send_input(to=""), "message.to"),
            (SEND, send_input(to=" ; "), "message.to"),
            (SEND, send_input(to=17), "message.to"),
            (SEND, send_input(content=None), "message.content"),
            (SEND, send_input(content=["x"]), "message.content"),
            (SEND, send_input(subjekt="x"), "message.subjekt"),
            (SEND, send_input() | {"acount": "x"}, "acount"),
            (SEND, send_input() | {"unknown_policy": "whatever"}, "unknown_policy"),
            (SEND, send_input() | {"idempotency_key": ""}, "idempotency_key"),
            (SEND, send_input(use_only_plain_text=True), "message.plain_body"),
            (SEND, send_input(attachments="x"), "message.attachments"),
            (SEND, send_input(attachments=[{"name": "x"}]), "message.attachments.0.content"),
            (SEND, send_input(attachments=[{"content": ""}]), "message.attachments.0.name"),
            (RETRIEVE, {}, "account"),
            (RETRIEVE, {"account": "a", "number_of_emails": 0}, "number_of_emails"),
            (RETRIEVE, {"account": "a", "number_of_emails": "many"}, "number_of_emails"),
            (RETRIEVE, {"account": "a", "batch_size": 501}, "batch_size"),
            (RETRIEVE, {"account": "a", "fetch_strategy": "random"}, "fetch_strategy"),
            (RETRIEVE, {"account": "a", "handling": "delete"}, "handling"),
            (RETRIEVE, {"account": "a", "move_to": "Done"}, "move_to"),
            (RETRIEVE, {"account": "a", "folder": ""}, "folder"),
            (RETRIEVE, {"account": "a", "folder": "a\r\nb"}, "folder"),
            (RETRIEVE, {"account": "a", "consumer": "a b"}, "consumer"),
            (RETRIEVE, {"account": "a", "on_email_fetch": "Take"}, "on_email_fetch"),
            (
                RETRIEVE,
                {"account": "a", "on_email_fetch": {"workflow": "Take"}},
                "on_email_fetch.task_queue",
            ),
            (RETRIEVE, {"account": "a", "rewind": {}}, "rewind"),
            (
                WorkflowType.SUBSCRIBE_FOR_EMAIL_NOTIFICATION,
                {"account": "a", "rewind": {"from_uid": 1}},
                "rewind",
            ),
            (WorkflowType.GET_EMAIL_MESSAGE, {}, "message_id"),
            (WorkflowType.GET_EMAIL_MESSAGE, {"id": "x"}, "message_id"),
            (WorkflowType.GET_FOLDER_NAMES, {"account": None}, "account"),
            (WorkflowType.CHECK_SERVER_CONNECTION, {"account": ["a"]}, "account"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    async def test_fields(
        self, connector: Connector, client: Client, kind: str, body: Any, field: str
    ) -> None:
        await refused(connector, client, kind, body, type="InvalidInput", field=field)

    async def test_fields_of_our_own(self, connector: Connector, client: Client) -> None:
        plan = {
            **dict.fromkeys(("retrieval_id", "owner", "account_id", "folder_id", "folder"), "x"),
            "consumer": "x",
            "total": 1,
            "batches": 1,
            "unsettled": ["another run's batch"],
            "heartbeat_timeout_seconds": 30,
            "patience_seconds": 30,
        }
        body = {"account": "a", "plan": plan}
        await refused(connector, client, RETRIEVE, body, type="InvalidInput", field="plan")

    async def test_a_cron(self, connector: Connector, client: Client) -> None:
        before = connector.counts()
        handle = await client.start_workflow(
            SEND,
            send_input(),
            id=fresh("test/"),
            task_queue=TaskQueue.ORCHESTRATION,
            cron_schedule="@every 1s",
        )
        first = client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
        try:
            with pytest.raises(WorkflowContinuedAsNewError):
                await asyncio.wait_for(first.result(follow_runs=False), 30)
        finally:
            await client.get_workflow_handle(handle.id).terminate()
        last = (await first.fetch_history()).events[-1]
        failure = last.workflow_execution_failed_event_attributes.failure
        assert failure.application_failure_info.type == "InvalidInput"
        assert connector.counts() == before

    async def test_an_unknown_type(self, connector: Connector, client: Client) -> None:
        found = await refused(
            connector, client, "SendMail", {}, type="UnknownWorkflowType", field="workflow_type"
        )
        assert "SendEmail" in found.message

    @pytest.mark.parametrize(
        "data", [b"", b"{", b'{"account": "a"', b"nonsense", b"\xff\xfe{}", b"[" * 10_000]
    )
    async def test_broken_json(self, connector: Connector, client: Client, data: bytes) -> None:
        found = await refusal(client, SEND, payload(data))
        assert found.type in ("InvalidInput", "PayloadUnreadable")
        assert found.field == "input"
        assert found.seconds < SECONDS

    async def test_an_encoding_nobody_knows(self, connector: Connector, client: Client) -> None:
        await refused(
            connector,
            client,
            SEND,
            payload(b"<a/>", b"xml/plain"),
            type="PayloadUnreadable",
            field="input",
        )

    @pytest.mark.parametrize("case", ["unknown key", "damaged", "cut", "empty"])
    async def test_what_cannot_be_decrypted(
        self, connector: Connector, client: Client, stranger: Client, case: str
    ) -> None:
        keys = connector.store.keys.payloads or {}
        codec = AesGcmCodec({"other": os.urandom(32)} if case == "unknown key" else keys)
        clear = Payload(metadata={"encoding": b"json/plain"}, data=b"{}")
        (sealed,) = await codec.encode([clear])
        kept = {"damaged": -1, "cut": 5, "empty": 0}.get(case, len(sealed.data))
        sealed.data = sealed.data[:kept]
        workflow_id = fresh("test/")
        before = connector.counts()
        # Our own client would encrypt it once more.
        await stranger.start_workflow(
            SEND, RawValue(sealed), id=workflow_id, task_queue=TaskQueue.ORCHESTRATION
        )
        with pytest.raises(WorkflowFailureError) as caught:
            await asyncio.wait_for(client.get_workflow_handle(workflow_id).result(), 10)
        assert isinstance(caught.value.cause, ApplicationError)
        assert caught.value.cause.type == "PayloadUnreadable"
        assert connector.counts() == before

    async def test_type_and_field_are_readable_without_our_key(self, stranger: Client) -> None:
        found = await refusal(stranger, SEND, {"account": "a"})
        assert (found.type, found.field) == ("InvalidInput", "message")
        assert found.message == "InvalidInput: message"


def injecting(field: str, text: str) -> tuple[dict[str, Any], str]:
    """A message with a header of its own behind ``text``, and the field to be blamed."""
    evil = f"a{text}Bcc: x@example.com"
    match field:
        case "to" | "cc" | "bcc" | "reply_to" | "from_address":
            return {field: f"a@example.net{text}Bcc: x@example.com"}, f"message.{field}"
        case "to_name":
            return {"to": f'"{evil}" <a@example.net>'}, "message.to"
        case "attachment_name":
            files = [{"name": evil, "content": ""}]
            return {"attachments": files}, "message.attachments.0.name"
        case "attachment_type":
            files = [{"name": "a", "content": "", "content_type": f"a/b{text}c"}]
            return {"attachments": files}, "message.attachments.0.content_type"
        case _:
            return {field: evil}, f"message.{field}"


class TestInjection:
    """Whatever could add a line to a header or a command."""

    @pytest.mark.parametrize(
        "field",
        [
            "to",
            "cc",
            "bcc",
            "reply_to",
            "from_address",
            "to_name",
            "subject",
            "from_display_name",
            "attachment_name",
            "attachment_type",
        ],
    )
    async def test_line_breaks(self, connector: Connector, client: Client, field: str) -> None:
        before = connector.counts()
        messages = [injecting(field, text) for text in LINE_BREAKS]
        answers = await asyncio.gather(
            *(refusal(client, SEND, send_input(**message)) for message, _ in messages)
        )
        for (message, named), answer in zip(messages, answers, strict=True):
            assert (answer.type, answer.field) == ("InvalidInput", named), message
            assert "x@example.com" not in answer.message
            assert answer.seconds < SECONDS
        assert connector.counts() == before

    @pytest.mark.parametrize(
        "address",
        [
            "nobody",
            "@example.net",
            "a@",
            "a b@example.net",
            "a@@example.net",
            "a@example..net",
            "a@-example.net",
            ".a@example.net",
            "a@example.net b@example.net",
            "<a@example.net",
            "a@[300.1.1.1]",
            "=?utf-8?q?a?=@example.net",
        ],
    )
    async def test_malformed_addresses(
        self, connector: Connector, client: Client, address: str
    ) -> None:
        found = await refusal(client, SEND, send_input(to=address))
        assert (found.type, found.field) == ("InvalidInput", "message.to")
        assert found.seconds < SECONDS


#: These name a record of another kind.
WITHOUT_ACCOUNT = (
    WorkflowType.GET_EMAIL_MESSAGE,
    WorkflowType.DELIVER_WEBHOOK,
    WorkflowType.NOTIFY_SEND_OUTCOME,
)


class TestRecords:
    """What is well said, but about nothing there is."""

    @pytest.mark.parametrize("kind", [kind for kind in WorkflowType if kind not in WITHOUT_ACCOUNT])
    async def test_unknown_account(
        self, connector: Connector, client: Client, kind: WorkflowType
    ) -> None:
        body = send_input("no such account") if kind is SEND else {"account": "no such account"}
        await refused(connector, client, kind, body, type="AccountNotFound", field="account")

    @pytest.mark.parametrize(
        "kind", [WorkflowType.GET_EMAIL_MESSAGE, WorkflowType.NOTIFY_SEND_OUTCOME]
    )
    async def test_unknown_message(
        self, connector: Connector, client: Client, kind: WorkflowType
    ) -> None:
        await refused(
            connector,
            client,
            kind,
            {"message_id": "x"},
            type="MessageNotFound",
            field="message_id",
        )

    async def test_an_account_without_the_side(
        self, connector: Connector, client: Client, dovecot: Dovecot, postfix: Postfix
    ) -> None:
        receives = connector.add_account(incoming=incoming(dovecot, username="x"))
        sends = connector.add_account(outgoing=outgoing(postfix, username="x"))
        for kind, body, field in (
            (SEND, send_input(receives), "account.outgoing"),
            (RETRIEVE, {"account": sends}, "account.incoming"),
        ):
            await refused(connector, client, kind, body, type="AccountIncomplete", field=field)

    async def test_missing_folders(
        self, connector: Connector, client: Client, account: str, user: str, dovecot: Dovecot
    ) -> None:
        dovecot.deliver(user, mail())
        for options, field in (
            ({"folder": "Nowhere"}, "folder"),
            ({"handling": "move", "move_folder": "Nowhere"}, "move_folder"),
        ):
            await refused(
                connector,
                client,
                RETRIEVE,
                {"account": account, **options},
                type="FolderNotFound",
                field=field,
            )
        await refused(
            connector,
            client,
            RETRIEVE,
            {"account": account, "handling": "move"},
            type="InvalidInput",
            field="move_folder",
        )
        await refused(
            connector,
            client,
            RETRIEVE,
            {"account": account, "handling": "move", "move_folder": "INBOX"},
            type="InvalidInput",
            field="move_folder",
        )

    @pytest.mark.parametrize("content", ["no base64!", "YQ", "YQ==\r\n.\r\n", "ä"])
    async def test_an_attachment_that_is_not_base64(
        self, connector: Connector, client: Client, account: str, content: str
    ) -> None:
        files = [{"name": "good", "content": "YQ=="}, {"name": "bad", "content": content}]
        await refused(
            connector,
            client,
            SEND,
            send_input(account, attachments=files),
            type="InvalidInput",
            field="message.attachments.1.content",
        )

    async def test_a_content_ref_to_nothing(
        self, connector: Connector, client: Client, account: str
    ) -> None:
        files = [{"name": "a", "content_ref": "nothing"}]
        await refused(
            connector,
            client,
            SEND,
            send_input(account, attachments=files),
            type="ContentNotFound",
            field="message.attachments.0.content_ref",
        )


class TestSize:
    async def test_more_than_a_payload_should_carry(
        self, connector: Connector, client: Client, account: str
    ) -> None:
        files = [{"name": "a", "content": base64.b64encode(bytes(900_000)).decode()}]
        found = await refused(
            connector,
            client,
            SEND,
            send_input(account, attachments=files),
            type="InvalidInput",
            field="message.attachments",
        )
        assert "content_ref" in found.message

    def test_thirty_megabytes_never_leave_our_own_client(self) -> None:
        body = send_input(attachments=[{"name": "a", "content": "A" * 40_000_000}])
        with pytest.raises(ValidationError) as caught:
            SendEmailInput.model_validate(body)
        field, reason = first_problem(caught.value)
        assert field == "message.attachments"
        assert "content_ref" in reason
        assert len(str(caught.value)) < 1000

    async def test_thirty_megabytes_go_by_reference(
        self, connector: Connector, client: Client, account: str, dovecot: Dovecot, tmp_path: Path
    ) -> None:
        file, to = tmp_path / "large.bin", f"{fresh('to')}@example.net"
        file.write_bytes(os.urandom(1_000_000) * 30)
        (attached,) = attach([File(file, AttachmentPosition.NORMAL)], connector.store)
        assert attached.content is None
        message = send_input(account, to=to, attachments=[attached.model_dump(exclude_none=True)])
        result = await execute(client, SEND, message)
        assert result["status"] == "sent"
        (arrived,) = delivered(dovecot, to)
        (part,) = parsed(arrived).iter_attachments()
        assert part.get_payload(decode=True) == file.read_bytes()

    async def test_thirty_megabytes_are_refused_by_temporal(
        self, connector: Connector, stranger: Client
    ) -> None:
        body = json.dumps(send_input(attachments=[{"name": "a", "content": "A" * 40_000_000}]))
        before = connector.counts()
        with pytest.raises(RPCError) as caught:
            await execute(stranger, SEND, payload(body.encode()))
        assert caught.value.status in (
            RPCStatusCode.RESOURCE_EXHAUSTED,
            RPCStatusCode.INVALID_ARGUMENT,
        )
        assert connector.counts() == before


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []
        stop = threading.Event()
        server.settimeout(0.05)

        def accept() -> None:
            while not stop.is_set():
                try:
                    taken.append(server.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        stop.set()
        thread.join()
        for connection in taken:
            connection.close()


@pytest.fixture(scope="module")
def distrusting(make_connector: MakeConnector) -> Connector:
    """A connector that was not told about the test servers' authority."""
    return make_connector(ca_file=None)


@pytest.fixture(scope="module")
def impostor(server_directory: Path, test_ca: TestCA) -> Iterator[Dovecot]:
    """A server with the certificate of another host."""
    with Dovecot(server_directory / "impostor", test_ca.wrong_host()) as server:
        yield server


@pytest.fixture(scope="module")
def impostor_smtp(server_directory: Path, test_ca: TestCA, dovecot: Dovecot) -> Iterator[Postfix]:
    """The same for sending."""
    where = server_directory / "impostor-smtp"
    with Postfix(where, test_ca.wrong_host(), lmtp_port=dovecot.lmtp_port) as server:
        yield server


class TestServers:
    """Servers that cannot be worked with."""

    @pytest.mark.parametrize(
        ("case", "type"),
        [
            ("password", "CredentialsRejected"),
            ("port", "ConnectionFailed"),
            ("certificate", "CertificateRejected"),
            ("authority", "CertificateRejected"),
            ("hanging", "ConnectionTimedOut"),
            ("host", "HostNotFound"),
        ],
    )
    async def test_retrieving(
        self,
        case: str,
        type: str,
        connector: Connector,
        client: Client,
        distrusting: Connector,
        dovecot: Dovecot,
        impostor: Dovecot,
        silent_port: int,
        user: str,
    ) -> None:
        server = incoming(dovecot, username=user, connection_timeout_ms=1000)
        password = dovecot.password
        match case:
            case "password":
                password = "wrong"
            case "port":
                server["port"] = free_port()
            case "certificate":
                server["port"] = impostor.imaps_port
            case "authority":
                connector, client = distrusting, await distrusting.client()
            case "hanging":
                server["port"] = silent_port
            case "host":
                server["host"] = "nowhere.invalid"
        account = connector.add_account(password=password, incoming=server)
        await refused(connector, client, RETRIEVE, {"account": account}, type=type, field=None)
        listed = await refusal(client, WorkflowType.GET_FOLDER_NAMES, {"account": account})
        assert listed.type == type
        assert listed.seconds < SECONDS

    async def test_cancelled_while_a_server_is_silent(
        self, connector: Connector, client: Client, dovecot: Dovecot, silent_port: int, user: str
    ) -> None:
        server = incoming(dovecot, username=user) | {"port": silent_port}
        account = connector.add_account(password="x", incoming=server)
        handle = await client.start_workflow(
            RETRIEVE, {"account": account}, id=fresh("test/"), task_queue=TaskQueue.ORCHESTRATION
        )
        await asyncio.sleep(1)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as caught:
            await asyncio.wait_for(handle.result(), 10)
        assert isinstance(caught.value.cause, CancelledError)

    @pytest.mark.parametrize(
        ("case", "type"),
        [
            ("password", "CredentialsRejected"),
            ("authority", "CertificateRejected"),
            ("certificate", "CertificateRejected"),
            ("no TLS", "TlsUnavailable"),
        ],
    )
    async def test_sending_with_what_cannot_help_itself(
        self,
        case: str,
        type: str,
        connector: Connector,
        client: Client,
        distrusting: Connector,
        impostor_smtp: Postfix,
        postfix: Postfix,
        dovecot: Dovecot,
        user: str,
    ) -> None:
        password = "wrong" if case == "password" else dovecot.password
        if case == "authority":
            connector, client = distrusting, await distrusting.client()
        server = outgoing(postfix, username=user)
        if case == "certificate":
            server["port"] = impostor_smtp.smtp_port
        async with SmtpServer() as without_tls:
            if case == "no TLS":
                server["port"] = without_tls.port
            account = connector.add_account(password=password, outgoing=server)
            found = await refusal(client, SEND, send_input(account))
        assert found.type == type
        assert found.seconds < SECONDS
        assert stored_as_failed(connector, account)

    @pytest.mark.parametrize(
        ("case", "type"), [("port", "ConnectionFailed"), ("hanging", "ConnectionTimedOut")]
    )
    async def test_sending_waits_for_a_server_and_says_so(
        self,
        case: str,
        type: str,
        connector: Connector,
        client: Client,
        silent_port: int,
    ) -> None:
        port = free_port() if case == "port" else silent_port
        server = {"host": "127.0.0.1", "port": port, "security": "none", "login": "none"}
        server["connection_timeout_ms"] = 500
        waits = connector.add_account(outgoing=server)
        handle = await client.start_workflow(
            SEND, send_input(waits), id=fresh("test/"), task_queue=TaskQueue.ORCHESTRATION
        )
        progress = await progress_of(handle, SECONDS)
        assert progress["error"]["type"] == type
        assert progress["error"]["temporary"]
        await handle.cancel()

        tries_once = connector.add_account(outgoing=server, max_send_attempts=0)
        found = await refusal(client, SEND, send_input(tries_once))
        assert found.type == type
        assert found.seconds < SECONDS
        assert stored_as_failed(connector, tries_once)

    async def test_sending_resumes_when_the_server_is_there(
        self, connector: Connector, client: Client
    ) -> None:
        port = free_port()
        server = {"host": "127.0.0.1", "port": port, "security": "none", "login": "none"}
        account = connector.add_account(outgoing=server)
        handle = await client.start_workflow(
            SEND, send_input(account), id=fresh("test/"), task_queue=TaskQueue.ORCHESTRATION
        )
        await progress_of(handle)
        async with SmtpServer(port=port) as smtp:
            result = await asyncio.wait_for(handle.result(), 10)
            assert result["status"] == "sent"
            assert result["attempts"] > 1
            assert len(smtp.accepted) == 1


def stored_as_failed(connector: Connector, account: str) -> bool:
    """Whether the one mail of an account is whole in the store, and failed."""
    with connector.store.database.read() as session:
        account_id = connector.store.accounts.get(session, account).id
    (message,) = connector.rows(Message, Message.account_id == account_id)
    (delivery,) = connector.rows(Delivery, Delivery.message_id == message.id)
    recipients = connector.rows(Recipient, Recipient.delivery_id == delivery.id)
    connector.content(f"{message.id}.mail")
    return {message.status, delivery.state, *(r.state for r in recipients)} == {"failed"}
