"""The Sent folder: copies put there once, and unknown outcomes looked up, on real servers."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from activities.mail.imap import ImapMailbox
from activities.providers.registry import PROFILES, Providers
from models import policies
from models.names import TaskQueue, WorkflowType
from models.tables import Delivery, LogEntry, Rendition
from tests.chaos.control import Action, Control
from tests.e2e.conftest import add_namespace, incoming, outgoing
from tests.e2e.harness import Connector, connector_settings, execute, fresh
from tests.e2e.mails import delivered, parsed
from tests.e2e.processes import child, python
from tests.imap_server import Command, ImapServer, Session
from tests.smtp_server import Fault, SmtpServer
from tests.stores import Stores, store_environment
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot
from tools.servers.postfix import Postfix
from tools.temporal import DevServer

SEND = WorkflowType.SEND_EMAIL
GRACE = 1.0
CONTENT = {"to": "to@example.net", "bcc": "hidden@example.net", "content": "x"}


@pytest.fixture(scope="module")
def connector(
    tmp_path_factory: pytest.TempPathFactory,
    temporal_server: DevServer,
    test_ca: TestCA,
    stores: Stores,
) -> Iterator[Connector]:
    """A connector that believes in providers who show a sent mail within a second."""
    settings = connector_settings(
        stores,
        tmp_path_factory.mktemp("data"),
        temporal_server.address,
        add_namespace(temporal_server),
        ca_file=test_ca.ca_file,
    )
    providers = Providers(replace(profile, sent_visible_seconds=GRACE) for profile in PROFILES)
    with Connector(settings, providers) as running:
        yield running


@pytest.fixture
def sent(dovecot: Dovecot, user: str) -> str:
    """The user's Sent folder."""
    dovecot.create_folder(user, "Sent")
    return "Sent"


def in_folder(dovecot: Dovecot, user: str, folder: str = "Sent") -> list[bytes]:
    """The mails that are there now."""
    return delivered(dovecot, user, folder, 0)


def plain(smtp: SmtpServer) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": smtp.port, "security": "none", "login": "none"}


def sending_account(
    connector: Connector, dovecot: Dovecot, user: str, smtp: SmtpServer, **settings: Any
) -> str:
    """An account that sends through ``smtp`` and has its mailbox on Dovecot."""
    return connector.add_account(
        password=dovecot.password,
        outgoing=plain(smtp),
        incoming=incoming(dovecot, username=user),
        **settings,
    )


def delivery_of(connector: Connector, result: dict[str, Any]) -> Delivery:
    (row,) = connector.rows(Delivery, Delivery.message_id == result["message_id"])
    assert isinstance(row, Delivery)
    return row


def events_of(connector: Connector, result: dict[str, Any]) -> list[str]:
    rows = connector.rows(LogEntry, LogEntry.message_id == result["message_id"])
    return [row.event for row in sorted(rows, key=lambda row: row.id)]


def stored_hash(connector: Connector, result: dict[str, Any]) -> str:
    (row,) = connector.rows(Rendition, Rendition.message_id == result["message_id"])
    return hashlib.sha256(connector.content(row.content_key)).hexdigest()


class TestCopies:
    async def test_the_copy_is_filed_once(
        self,
        connector: Connector,
        client: Client,
        dovecot: Dovecot,
        account: str,
        user: str,
        sent: str,
    ) -> None:
        request = {"account": account, "message": CONTENT, "idempotency_key": "k"}
        result = await execute(client, SEND, request)
        assert (result["status"], result["sent_copy"]) == ("sent", "filed")
        (copy,) = in_folder(dovecot, user)
        assert parsed(copy)["Message-ID"] == result["internet_message_id"]
        assert b"hidden@" not in copy
        assert dovecot.doveadm("search", "-u", user, "mailbox", "Sent", "seen").strip()
        again = await execute(client, SEND, request)
        assert (again["message_id"], again["sent_copy"]) == (result["message_id"], "filed")
        assert len(in_folder(dovecot, user)) == 1
        assert events_of(connector, result).count("sent_copy_filed") == 1

    async def test_a_refused_mail_leaves_no_copy(
        self, client: Client, dovecot: Dovecot, account: str, user: str, sent: str
    ) -> None:
        message = {"to": "nobody@reject.test", "content": "x"}
        result = await execute(client, SEND, {"account": account, "message": message})
        assert (result["status"], result["sent_copy"]) == ("failed", None)
        partial = {"to": "to@example.net;nobody@reject.test", "content": "x"}
        result = await execute(client, SEND, {"account": account, "message": partial})
        assert (result["status"], result["sent_copy"]) == ("partially_sent", "filed")
        assert len(in_folder(dovecot, user)) == 1

    @pytest.mark.parametrize(
        ("settings", "copies"),
        [
            ({"sent_copy": "never"}, 0),
            ({"provider": "gmail"}, 0),
            ({"provider": "gmail", "sent_copy": "always"}, 1),
        ],
    )
    async def test_the_rule(
        self,
        connector: Connector,
        client: Client,
        dovecot: Dovecot,
        user: str,
        sent: str,
        settings: dict[str, str],
        copies: int,
    ) -> None:
        async with SmtpServer() as smtp:
            account = sending_account(connector, dovecot, user, smtp, **settings)
            result = await execute(client, SEND, {"account": account, "message": CONTENT})
        assert result["sent_copy"] == ("filed" if copies else None)
        assert len(in_folder(dovecot, user)) == copies

    async def test_a_copy_that_the_server_filed_is_found(
        self, connector: Connector, client: Client, dovecot: Dovecot, user: str, sent: str
    ) -> None:
        async with SmtpServer() as smtp:
            files = Filing(smtp, dovecot, user)
            account = sending_account(connector, dovecot, user, smtp)
            result = await execute(client, SEND, {"account": account, "message": CONTENT})
        assert files.mails == 1
        assert result["sent_copy"] == "found"
        assert len(in_folder(dovecot, user)) == 1

    async def test_a_folder_that_is_not_marked_is_named_by_the_account(
        self, connector: Connector, client: Client, dovecot: Dovecot, user: str
    ) -> None:
        dovecot.create_folder(user, "Gesendete Öbjekte")
        async with SmtpServer() as smtp:
            for name, state in ((None, "failed"), ("Gesendete Öbjekte", "filed")):
                account = sending_account(connector, dovecot, user, smtp, sent_folder=name)
                result = await execute(client, SEND, {"account": account, "message": CONTENT})
                assert (result["status"], result["sent_copy"]) == ("sent", state)
            assert len(smtp.accepted) == 2
        assert len(in_folder(dovecot, user, "Gesendete Öbjekte")) == 1

    async def test_an_append_that_fails_sends_nothing_again(
        self, connector: Connector, client: Client
    ) -> None:
        async with SmtpServer() as smtp:
            with ImapServer() as imap:
                imap.on("LIST", b'* LIST (\\Sent) "/" Sent\r\nTAG OK done\r\n')
                imap.on("UID SEARCH", b"* SEARCH\r\nTAG OK done\r\n")
                imap.on("APPEND", b"TAG NO [UNAVAILABLE] later\r\n")
                server = {"host": imap.host, "port": imap.port, "protocol": "imap"}
                account = connector.add_account(
                    outgoing=plain(smtp),
                    incoming=server | {"security": "none", "username": "u"},
                )
                result = await execute(client, SEND, {"account": account, "message": CONTENT})
                tried = [c for c in imap.commands if c.name == "APPEND"]
        assert (result["status"], result["sent_copy"]) == ("sent", "failed")
        assert (len(smtp.accepted), len(tried)) == (1, 4)
        (entry,) = connector.rows(
            LogEntry,
            LogEntry.message_id == result["message_id"],
            LogEntry.event == "sent_copy_failed",
        )
        assert entry.error_type == "ServerUnavailable"

    async def test_a_copy_that_no_worker_takes_is_given_up(
        self,
        connector: Connector,
        client: Client,
        account: str,
        sent: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setitem(policies.FILE_COPY, "task_queue", fresh())
        monkeypatch.setitem(policies.FILE_COPY, "schedule_to_close_timeout", timedelta(seconds=1))
        result = await execute(client, SEND, {"account": account, "message": CONTENT})
        assert (result["status"], result["sent_copy"]) == ("sent", "failed")
        assert "sent_copy_failed" in events_of(connector, result)

    async def test_a_cancellation_that_comes_after_the_mail_is_sent(
        self, connector: Connector, client: Client
    ) -> None:
        asked, go_on = threading.Event(), threading.Event()

        async def slowly(session: Session, command: Command) -> None:
            asked.set()
            async with asyncio.timeout(8):
                while not go_on.is_set():  # noqa: ASYNC110 - it is of another loop
                    await asyncio.sleep(0.05)
            await session.send(command.tag + b" OK done\r\n")

        async with SmtpServer() as smtp:
            with ImapServer() as imap:
                imap.on("LIST", b'* LIST (\\Sent) "/" Sent\r\nTAG OK done\r\n')
                imap.on("UID SEARCH", b"* SEARCH\r\nTAG OK done\r\n")
                imap.on("APPEND", slowly)
                server = {"host": imap.host, "port": imap.port, "protocol": "imap"}
                account = connector.add_account(
                    outgoing=plain(smtp),
                    incoming=server | {"security": "none", "username": "u"},
                )
                handle = await client.start_workflow(
                    SEND,
                    {"account": account, "message": CONTENT},
                    id=fresh("test/"),
                    task_queue=TaskQueue.ORCHESTRATION,
                )
                assert await asyncio.to_thread(asked.wait, 20)
                await handle.cancel()
                go_on.set()
                result = await handle.result()
        assert (result["status"], result["sent_copy"]) == ("sent", "filed")

    async def test_a_worker_killed_between_append_and_commit(
        self,
        stores: Stores,
        tmp_path: Path,
        temporal_server: DevServer,
        test_ca: TestCA,
        dovecot: Dovecot,
        postfix: Postfix,
        user: str,
        sent: str,
    ) -> None:
        namespace, control = add_namespace(temporal_server), Control(tmp_path / "control")
        settings = connector_settings(stores, tmp_path / "d", temporal_server.address, namespace)
        environment = {
            **store_environment(settings),
            "EMAIL_CONNECTOR_TEMPORAL_ADDRESS": temporal_server.address,
            "EMAIL_CONNECTOR_TEMPORAL_NAMESPACE": namespace,
            "EMAIL_CONNECTOR_CA_FILE": str(test_ca.ca_file),
            "CHAOS_CONTROL": str(tmp_path / "control"),
        }
        connector = Connector(settings)
        account = connector.add_account(
            password=dovecot.password,
            outgoing=outgoing(postfix, username=user),
            incoming=incoming(dovecot, username=user),
        )
        client = await connector.client()
        control.arm("sent_copy.before_commit", Action.KILL)
        command, ready = python("-m", "tests.chaos.worker"), "worker ready"
        with child(command, tmp_path / "1.log", ready=ready, environment=environment):
            to = f"{fresh()}@example.net"
            request = {"account": account, "message": {"to": to, "content": "x"}}
            run = asyncio.create_task(execute(client, SEND, request))
            async with asyncio.timeout(30):
                while not control.crashes():  # noqa: ASYNC110 - a process that dies tells nobody
                    await asyncio.sleep(0.05)
        assert len(in_folder(dovecot, user)) == 1
        with child(command, tmp_path / "2.log", ready=ready, environment=environment):
            result = await run
        assert (result["status"], result["sent_copy"]) == ("sent", "found")
        assert len(in_folder(dovecot, user)) == 1
        assert len(delivered(dovecot, to)) == 1
        connector.store.close()


class Filing:
    """Makes an SMTP server file what it accepts into a mailbox's Sent folder, as providers do."""

    def __init__(self, smtp: SmtpServer, dovecot: Dovecot, user: str) -> None:
        self.mails = 0
        accept = smtp.accept

        def file(sender: str, rcpts: list[str], content: bytes) -> None:
            self.mails += 1
            dovecot.deliver(user, content, "Sent")
            accept(sender, rcpts, content)

        smtp.accept = file  # type: ignore[method-assign]


class TestVerification:
    async def test_found_is_sent(
        self, connector: Connector, client: Client, dovecot: Dovecot, user: str, sent: str
    ) -> None:
        async with SmtpServer(faults=[Fault("reply", "rst", 1)]) as smtp:
            Filing(smtp, dovecot, user)
            account = sending_account(connector, dovecot, user, smtp, provider="gmail")
            result = await execute(client, SEND, {"account": account, "message": CONTENT})
            assert len(smtp.accepted) == 1
        assert result["status"] == "sent"
        assert {r["state"] for r in result["recipients"]} == {"sent"}
        assert result["sent_at"]
        assert "verified_sent" in events_of(connector, result)

    async def test_absent_is_sent_again_with_the_same_bytes(
        self, connector: Connector, client: Client, dovecot: Dovecot, user: str, sent: str
    ) -> None:
        async with SmtpServer(faults=[Fault("after_dot", "rst", 1)]) as smtp:
            Filing(smtp, dovecot, user)
            account = sending_account(connector, dovecot, user, smtp, provider="gmail")
            result = await execute(client, SEND, {"account": account, "message": CONTENT})
            (accepted,) = smtp.accepted
            first, second = (c for c in smtp.connections if c.commands)
        assert (result["status"], result["attempts"]) == ("sent", 2)
        assert accepted.sha256 == stored_hash(connector, result)
        assert bytes(first.raw).endswith(b"\r\n.\r\n")
        assert accepted.content in bytes(first.raw)
        assert accepted.content in bytes(second.raw)
        events = events_of(connector, result)
        assert events.index("verified_absent") < events.index("unknown_reopened")

    @pytest.mark.parametrize("provider", ["microsoft365", "generic"])
    async def test_absence_that_proves_nothing_holds(
        self,
        connector: Connector,
        client: Client,
        dovecot: Dovecot,
        user: str,
        sent: str,
        provider: str,
    ) -> None:
        """The one loses the Message-ID, the other files nothing: it may have been sent."""
        async with SmtpServer(faults=[Fault("reply", "rst", 1)]) as smtp:
            account = sending_account(connector, dovecot, user, smtp, provider=provider)
            result = await execute(client, SEND, {"account": account, "message": CONTENT})
            assert len(smtp.accepted) == 1
        assert (result["status"], result["attempts"]) == ("unknown", 1)
        assert delivery_of(connector, result).held_reason == "not_in_sent"
        assert delivery_of(connector, result).verifications == 2
        assert in_folder(dovecot, user) == []

    @pytest.mark.parametrize("side", ["none", "pop3", "no folder"])
    async def test_where_nobody_can_look_it_is_held_at_once(
        self, connector: Connector, client: Client, dovecot: Dovecot, user: str, side: str
    ) -> None:
        async with SmtpServer(faults=[Fault("reply", "rst", 1)]) as smtp:
            sides: dict[str, Any] = {"outgoing": plain(smtp)}
            if side != "none":
                sides["incoming"] = incoming(dovecot, username=user)
            if side == "pop3":
                sides["incoming"] |= {"protocol": "pop3s", "port": dovecot.pop3s_port}
            account = connector.add_account(password=dovecot.password, provider="gmail", **sides)
            result = await execute(client, SEND, {"account": account, "message": CONTENT})
            assert len(smtp.accepted) == 1
        assert result["status"] == "unknown"
        delivery = delivery_of(connector, result)
        assert (delivery.held_reason, delivery.verifications) == ("no_sent_folder", 1)

    async def test_a_rejected_login_holds_with_its_type(
        self, connector: Connector, client: Client, dovecot: Dovecot, user: str, sent: str
    ) -> None:
        async with SmtpServer(faults=[Fault("reply", "rst", 1)]) as smtp:
            account = connector.add_account(
                password="wrong",
                provider="gmail",
                outgoing=plain(smtp),
                incoming=incoming(dovecot, username=user),
            )
            result = await execute(client, SEND, {"account": account, "message": CONTENT})
        assert result["status"] == "unknown"
        assert delivery_of(connector, result).held_reason == "CredentialsRejected"

    async def test_a_look_that_no_worker_takes_leaves_it_unknown(
        self,
        connector: Connector,
        client: Client,
        dovecot: Dovecot,
        user: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setitem(policies.VERIFY, "task_queue", fresh())
        monkeypatch.setitem(policies.VERIFY, "schedule_to_close_timeout", timedelta(seconds=1))
        async with SmtpServer(faults=[Fault("reply", "rst", 1)]) as smtp:
            account = sending_account(connector, dovecot, user, smtp, provider="gmail")
            result = await execute(client, SEND, {"account": account, "message": CONTENT})
        assert (result["status"], result["attempts"]) == ("unknown", 1)

    @pytest.mark.parametrize("policy", ["at_most_once", "at_least_once"])
    async def test_other_policies_do_not_look(
        self,
        connector: Connector,
        client: Client,
        dovecot: Dovecot,
        user: str,
        sent: str,
        policy: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        looked: list[str] = []

        def find(_: ImapMailbox, _folder: str, message_id: str) -> list[int]:
            looked.append(message_id)
            return []

        monkeypatch.setattr(ImapMailbox, "find_by_message_id", find)
        async with SmtpServer(faults=[Fault("reply", "rst", 1)]) as smtp:
            account = sending_account(
                connector, dovecot, user, smtp, provider="gmail", unknown_policy=policy
            )
            result = await execute(client, SEND, {"account": account, "message": CONTENT})
            assert len(smtp.accepted) == (1 if policy == "at_most_once" else 2)
        assert result["status"] == ("unknown" if policy == "at_most_once" else "sent")
        assert looked == []

    async def test_a_mail_that_others_got_proves_nothing(
        self, connector: Connector, client: Client, dovecot: Dovecot, user: str, sent: str
    ) -> None:
        """Accepted for one, put off for the other, whose own attempt is in doubt."""
        faults = [Fault("reply", "rst", 0)]
        later = {"b@example.net": 451}
        async with SmtpServer(faults=faults, recipients=dict(later)) as smtp:
            Filing(smtp, dovecot, user)
            accept = smtp.accept

            def then_doubtful(sender: str, rcpts: list[str], content: bytes) -> None:
                accept(sender, rcpts, content)
                smtp.recipients.clear()
                faults[0].times = 1

            smtp.accept = then_doubtful  # type: ignore[method-assign]
            account = sending_account(connector, dovecot, user, smtp, provider="gmail")
            message = {"to": "a@example.net;b@example.net", "content": "x"}
            result = await execute(client, SEND, {"account": account, "message": message})
            assert [mail.rcpts for mail in smtp.accepted] == [["a@example.net"], ["b@example.net"]]
        assert [r["state"] for r in result["recipients"]] == ["sent", "unknown"]
        assert delivery_of(connector, result).held_reason == "sent_proves_nothing"


class TestTheQueue:
    """Queued mail, which no workflow of its own follows."""

    async def queue(self, client: Client, account: str, **options: Any) -> dict[str, Any]:
        mail = {"to": "a@example.net", "content": "x"}
        request = {"account": account, "message": mail, "queued": True} | options
        queued: dict[str, Any] = await execute(client, WorkflowType.SEND_EMAIL, request)
        return queued

    async def drain(self, client: Client, account: str) -> dict[str, int]:
        request = {"account": account}
        drained = await execute(client, WorkflowType.SEND_QUEUED_EMAILS, request)
        counts: dict[str, int] = drained["counts"]
        return counts

    async def test_copies_are_filed_once(
        self, connector: Connector, client: Client, dovecot: Dovecot, user: str, sent: str
    ) -> None:
        async with SmtpServer() as smtp:
            account = sending_account(connector, dovecot, user, smtp, sent_folder=sent)
            results = [await self.queue(client, account) for _ in range(3)]
            drains = await asyncio.gather(*(self.drain(client, account) for _ in range(3)))
            assert sum(counts["sent"] for counts in drains) == 3
            await self.drain(client, account)
        assert len(in_folder(dovecot, user)) == 3
        assert {delivery_of(connector, result).sent_copy for result in results} == {"filed"}

    async def test_a_doubt_is_settled_by_the_sent_folder(
        self, connector: Connector, client: Client, dovecot: Dovecot, user: str, sent: str
    ) -> None:
        async with SmtpServer(faults=[Fault("reply", "rst", times=1)]) as smtp:
            account = sending_account(
                connector, dovecot, user, smtp, sent_copy="never", sent_folder=sent
            )
            result = await self.queue(client, account)
            assert (await self.drain(client, account))["unknown"] == 1
            # The server had taken it, and shows it.
            raw = f"Message-ID: {result['internet_message_id']}\r\n\r\nx\r\n"
            dovecot.deliver(user, raw.encode(), sent)
            await asyncio.sleep(GRACE)
            await self.drain(client, account)
        assert delivery_of(connector, result).state == "sent"
        assert "verified_sent" in events_of(connector, result)

    async def test_absent_it_is_held(
        self, connector: Connector, client: Client, dovecot: Dovecot, user: str, sent: str
    ) -> None:
        async with SmtpServer(faults=[Fault("reply", "rst", times=1)]) as smtp:
            account = sending_account(
                connector, dovecot, user, smtp, sent_copy="never", sent_folder=sent
            )
            result = await self.queue(client, account)
            for _ in range(3):
                await self.drain(client, account)
                await asyncio.sleep(GRACE)
            assert len(smtp.accepted) <= 1
        row = delivery_of(connector, result)
        assert (row.state, row.held_reason) == ("unknown", "not_in_sent")
