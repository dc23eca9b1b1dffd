"""Sending and replicating mail through real servers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import stat
from collections.abc import Sequence
from typing import Any

import pytest
from sqlmodel import col, select
from temporalio.client import Client

from models.names import WorkflowType
from models.tables import BatchItem, CallbackDelivery, ContentRow, Message
from tests.e2e.conftest import data_folder, incoming, outgoing
from tests.e2e.harness import Connector, execute, fresh
from tests.e2e.mails import PDF, PIXEL, RawLog, delivered, mail, parsed, unfolded
from tests.smtp_server import Fault, SmtpServer
from tests.stores import object_at
from tools.servers.dovecot import Dovecot
from tools.servers.postfix import Postfix

# SELECT too: it takes \\Recent away from the mails.
CHANGING = (b"SELECT", b"STORE", b"EXPUNGE", b"MOVE", b"COPY", b"APPEND", b"CREATE", b"DELETE")

SEND, RETRIEVE = WorkflowType.SEND_EMAIL, WorkflowType.RETRIEVE_EMAIL_MESSAGES


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def placed_uids(connector: Connector, retrieval_id: str) -> list[int]:
    """The UIDs of a run in the order in which they were delivered."""
    with connector.store.database.read() as session:
        rows = session.exec(
            select(BatchItem.uid)
            .join(CallbackDelivery, col(CallbackDelivery.id) == col(BatchItem.batch_id))
            .where(CallbackDelivery.retrieval_id == retrieval_id)
            .order_by(col(CallbackDelivery.number), col(BatchItem.position))
        )
        return list(rows)


def server_state(dovecot: Dovecot, user: str, folder: str = "INBOX") -> str:
    """UIDs, flags and the modification sequence: any change of a folder shows in it."""
    mails = dovecot.doveadm("fetch", "-u", user, "uid flags modseq", "mailbox", folder)
    status = dovecot.doveadm(
        "mailbox", "status", "-u", user, "messages uidnext uidvalidity highestmodseq", folder
    )
    return mails + status


class TestSending:
    async def test_everything_a_mail_can_have(
        self, connector: Connector, client: Client, dovecot: Dovecot, postfix: Postfix, user: str
    ) -> None:
        people = {name: f"{fresh(name)}@example.net" for name in ("to1", "to2", "cc", "bcc")}
        account = connector.add_account(
            password=dovecot.password,
            email_address=user,
            full_name="Zoë Müller-Öst",
            outgoing=outgoing(postfix, username=user),
        )
        text = "Grüße\n.\n..dots\nFrom here\n"
        message = {
            "to": f"{people['to1']}; Größe Ücker <{people['to2']}>",
            "cc": people["cc"],
            "bcc": f"{people['bcc']};",
            "subject": "Grüße — 你好 🚀" + " lang" * 30,
            "content": '<p>Grüße <img src="cid:mxcid:logo.png" alt="x"></p>',
            "plain_body": text,
            "attachments": [
                {
                    "name": "logo.png",
                    "content_type": "image/png",
                    "position": "inline",
                    "content": encoded(PIXEL),
                },
                {
                    "name": "Übersicht.pdf",
                    "content_type": "application/pdf",
                    "content": encoded(PDF),
                },
            ],
        }
        result = await execute(client, SEND, {"account": account, "message": message})

        assert result["status"] == "sent"
        assert result["attempts"] == 1
        kinds = {r["address"]: (r["kind"], r["state"], r["code"]) for r in result["recipients"]}
        assert kinds == {
            people["to1"]: ("to", "sent", 250),
            people["to2"]: ("to", "sent", 250),
            people["cc"]: ("cc", "sent", 250),
            people["bcc"]: ("bcc", "sent", 250),
        }
        copies = [delivered(dovecot, address)[0] for address in people.values()]
        key = f"{result['message_id']}.mail"
        stored = connector.content(key)
        assert all(unfolded(copy).endswith(unfolded(stored)) for copy in copies)

        got = parsed(copies[0])
        assert str(got["Subject"]) == message["subject"]
        assert got["From"].addresses[0].display_name == "Zoë Müller-Öst"
        assert got["From"].addresses[0].addr_spec == user
        assert [a.addr_spec for a in got["To"].addresses] == [people["to1"], people["to2"]]
        assert got["To"].addresses[1].display_name == "Größe Ücker"
        assert [a.addr_spec for a in got["Cc"].addresses] == [people["cc"]]
        assert got["Bcc"] is None
        assert people["bcc"].encode() not in stored
        assert str(got["Message-ID"]) == f"<{result['internet_message_id'].strip('<>')}>"
        html, plain = got.get_body(("html",)), got.get_body(("plain",))
        assert html is not None
        assert plain is not None
        assert plain.get_content().splitlines() == text.splitlines()
        files = {
            part.get_filename(): part for part in got.walk() if part.get_filename() is not None
        }
        assert files["logo.png"].get_payload(decode=True) == PIXEL
        assert files["Übersicht.pdf"].get_payload(decode=True) == PDF
        assert files["Übersicht.pdf"].get_content_disposition() == "attachment"
        content_id = str(files["logo.png"]["Content-ID"]).strip("<>")
        assert f'src="cid:{content_id}"' in html.get_content()

    async def test_a_mail_reads_back_what_was_sent(
        self, connector: Connector, client: Client, account: str, user: str, dovecot: Dovecot
    ) -> None:
        message = {"to": user, "subject": "Around", "content": "<p>Hello <b>you</b></p>"}
        sent = await execute(client, SEND, {"account": account, "message": message})
        delivered(dovecot, user)
        result = await execute(client, RETRIEVE, {"account": account})
        assert (result["retrieved"], result["quarantined"]) == (1, 0)
        (found,) = connector.rows(
            Message,
            Message.direction == "incoming",
            Message.internet_message_id == sent["internet_message_id"],
        )
        read = await execute(client, WorkflowType.GET_EMAIL_MESSAGE, {"message_id": found.id})
        assert (read["subject"], read["to"]) == ("Around", [user])
        assert read["internet_message_id"] == sent["internet_message_id"]
        assert connector.content(read["html"]["key"]).strip() == b"<p>Hello <b>you</b></p>"
        asked = {"message_id": found.id, "remote_images": True}
        pictured = await execute(client, WorkflowType.GET_EMAIL_MESSAGE, asked)
        assert pictured["html"]["key"] == f"{found.id}.html.pictures"
        assert pictured["html"]["key"] in pictured["html"]["url"]

    async def test_some_recipients_are_refused(self, client: Client, account: str) -> None:
        good = f"{fresh('good')}@example.net"
        message = {"to": f"{good};nobody@reject.test", "content": "x"}
        result = await execute(client, SEND, {"account": account, "message": message})
        assert result["status"] == "partially_sent"
        states = {r["address"]: (r["state"], r["code"]) for r in result["recipients"]}
        assert states == {good: ("sent", 250), "nobody@reject.test": ("failed", 550)}


class TestUnknown:
    """The connection breaks after the final dot, before the reply."""

    @staticmethod
    async def send(
        connector: Connector, client: Client, smtp: SmtpServer, policy: str
    ) -> dict[str, Any]:
        server = {"host": smtp.host, "port": smtp.port, "security": "none", "login": "none"}
        account = connector.add_account(outgoing=server, unknown_policy=policy)
        message = {"to": "to@example.net", "content": "x"}
        found: dict[str, Any] = await execute(
            client, SEND, {"account": account, "message": message}
        )
        return found

    @pytest.mark.parametrize("policy", ["verify", "at_most_once"])
    async def test_it_is_held(self, connector: Connector, client: Client, policy: str) -> None:
        async with SmtpServer(faults=[Fault("reply", "rst", times=1)]) as smtp:
            result = await self.send(connector, client, smtp, policy)
            assert (result["status"], result["attempts"]) == ("unknown", 1)
            assert len(smtp.accepted) == 1

    async def test_it_is_sent_again_when_asked_for(
        self, connector: Connector, client: Client
    ) -> None:
        async with SmtpServer(faults=[Fault("reply", "rst", times=1)]) as smtp:
            result = await self.send(connector, client, smtp, "at_least_once")
            assert (result["status"], result["attempts"]) == ("sent", 2)
            first, second = smtp.accepted
            assert first.content == second.content

    async def test_a_refusal_afterwards_does_not_hide_it(
        self, connector: Connector, client: Client
    ) -> None:
        async with SmtpServer(faults=[Fault("reply", "rst", times=1)]) as smtp:
            sending = asyncio.create_task(self.send(connector, client, smtp, "at_least_once"))
            while not smtp.accepted:  # noqa: ASYNC110 - the server does not tell
                await asyncio.sleep(0.01)
            smtp.faults.append(Fault("rcpt", "5xx"))
            result = await asyncio.wait_for(sending, 20)
            assert (result["status"], result["attempts"]) == ("unknown", 2)
            assert result["recipients"][0]["code"] == 550
            assert len(smtp.accepted) == 1


class TestRetrieving:
    """Seven mails lie in the inbox, numbered 1 to 7 by the server."""

    @pytest.fixture
    def mails(self, dovecot: Dovecot, user: str) -> list[bytes]:
        raws = [mail(f"Mail {number}", text=f"Text {number}\n") for number in range(1, 8)]
        for raw in raws:
            dovecot.deliver(user, raw)
        return raws

    @pytest.mark.parametrize(
        ("strategy", "runs"),
        [
            ("latest", [[7, 6, 5], [4, 3, 2], [1], []]),
            ("oldest", [[1, 2, 3], [4, 5, 6], [7], []]),
        ],
    )
    async def test_a_number_of_mails(
        self,
        connector: Connector,
        client: Client,
        account: str,
        mails: Sequence[bytes],
        strategy: str,
        runs: list[list[int]],
    ) -> None:
        options = {"number_of_emails": 3, "fetch_strategy": strategy, "batch_size": 2}
        for expected in runs:
            result = await execute(client, RETRIEVE, {"account": account, **options})
            assert placed_uids(connector, result["retrieval_id"]) == expected
            assert result["retrieved"] == len(expected)
            assert result["batches"] == -(-len(expected) // 2)
            assert result["handled"] == 0

    async def test_everything_in_batches_and_only_once(
        self,
        connector: Connector,
        client: Client,
        account: str,
        user: str,
        dovecot: Dovecot,
        mails: Sequence[bytes],
    ) -> None:
        before = server_state(dovecot, user)
        request = {"account": account, "replicate_everything": True, "batch_size": 3}
        result = await execute(client, RETRIEVE, request)
        assert placed_uids(connector, result["retrieval_id"]) == [1, 2, 3, 4, 5, 6, 7]
        assert (result["retrieved"], result["batches"]) == (7, 3)
        assert stored_raws(connector, result["account_id"]) == set(mails)

        again = await execute(client, RETRIEVE, request)
        assert (again["retrieved"], again["batches"], again["handled"]) == (0, 0, 0)
        # Reading was peeking: no \\Seen, no other flag, no change that a server would number.
        assert server_state(dovecot, user) == before

    async def test_new_mail_is_found_and_old_mail_is_not_repeated(
        self,
        connector: Connector,
        client: Client,
        account: str,
        user: str,
        dovecot: Dovecot,
        mails: Sequence[bytes],
    ) -> None:
        await execute(client, RETRIEVE, {"account": account, "number_of_emails": 2})
        dovecot.deliver(user, mail("Mail 8"))
        result = await execute(client, RETRIEVE, {"account": account, "replicate_everything": True})
        assert placed_uids(connector, result["retrieval_id"]) == [1, 2, 3, 4, 5, 8]

    async def test_remove(
        self,
        connector: Connector,
        client: Client,
        account: str,
        user: str,
        dovecot: Dovecot,
        mails: Sequence[bytes],
    ) -> None:
        request = {"account": account, "number_of_emails": 3, "handling": "remove", "batch_size": 2}
        result = await execute(client, RETRIEVE, request)
        assert (result["retrieved"], result["handled"]) == (3, 3)
        assert uids_left(dovecot, user) == [1, 2, 3, 4]
        assert stored_raws(connector, result["account_id"]) == set(mails[4:])

    async def test_move(
        self,
        connector: Connector,
        client: Client,
        account: str,
        user: str,
        dovecot: Dovecot,
        mails: Sequence[bytes],
    ) -> None:
        dovecot.create_folder(user, "Erledigt/Größe")
        request = {
            "account": account,
            "replicate_everything": True,
            "handling": "move",
            "move_folder": "Erledigt/Größe",
            "batch_size": 3,
        }
        result = await execute(client, RETRIEVE, request)
        assert (result["retrieved"], result["handled"]) == (7, 7)
        assert uids_left(dovecot, user) == []
        assert set(delivered(dovecot, user, "Erledigt/Größe", 7)) == set(mails)

        # What was moved is known where it is found again: nothing is delivered twice.
        state = server_state(dovecot, user, "Erledigt/Größe")
        moved = {"account": account, "replicate_everything": True, "folder": "Erledigt/Größe"}
        again = await execute(client, RETRIEVE, moved)
        assert (again["retrieved"], again["known"]) == (0, 7)
        once_more = await execute(client, RETRIEVE, request)
        assert (once_more["retrieved"], once_more["handled"]) == (0, 0)
        assert server_state(dovecot, user, "Erledigt/Größe") == state

    @pytest.mark.parametrize("handling", ["none", "remove", "move"])
    async def test_a_second_run_says_nothing_that_changes_anything(
        self, connector: Connector, client: Client, talkative: Dovecot, user: str, handling: str
    ) -> None:
        for number in range(3):
            talkative.deliver(user, mail(f"Mail {number}"))
        talkative.create_folder(user, "Done")
        log = RawLog(talkative, user)
        account = connector.add_account(
            password=talkative.password, incoming=incoming(talkative, username=user)
        )
        request = {
            "account": account,
            "handling": handling,
            "move_folder": "Done" if handling == "move" else None,
        }
        result = await execute(client, RETRIEVE, request)
        assert result["retrieved"] == 3
        said = log.take()
        expected = {"none": b"", "remove": b"UID EXPUNGE 1:3", "move": b"UID MOVE 1:3"}[handling]
        assert b"BODY.PEEK[]" in said
        assert expected in said
        assert b"BODY[" not in said

        again = await execute(client, RETRIEVE, request)
        assert (again["retrieved"], again["handled"]) == (0, 0)
        said = log.take()
        assert b"EXAMINE" in said
        assert b"SEARCH" not in said, "UIDNEXT says that nothing has come"
        for command in CHANGING:
            assert command not in said

    async def test_a_large_mail_lies_in_a_private_place(
        self, connector: Connector, client: Client, account: str, user: str, dovecot: Dovecot
    ) -> None:
        data = bytes(range(256)) * 1200
        raw = mail("Large", text="See the file.\n", html="<p>x</p>", attachment=("big.pdf", data))
        dovecot.deliver(user, raw)
        result = await execute(client, RETRIEVE, {"account": account})
        (found,) = connector.rows(Message, Message.account_id == result["account_id"])
        (row,) = connector.rows(
            ContentRow, ContentRow.message_id == found.id, ContentRow.kind == "raw"
        )
        assert row.data is None
        name = hashlib.sha256(f"{row.key}.{row.sha256}".encode()).hexdigest()
        if connector.settings.blob_url is None:
            file = data_folder(connector) / name[:2] / name
            assert file.read_bytes() == raw
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert stat.S_IMODE(data_folder(connector).stat().st_mode) == 0o700
        else:
            assert object_at(f"{connector.settings.blob_url}/{name[:2]}/{name}") == raw
            assert not data_folder(connector).exists()
        assert connector.content(row.key) == raw
        read = await execute(client, WorkflowType.GET_EMAIL_MESSAGE, {"message_id": found.id})
        (part,) = read["parts"]
        assert (part["name"], part["size"]) == ("big.pdf", len(data))
        assert read["size"] == read["raw"]["size"] == len(raw)


class TestReading:
    async def test_get_email_message(
        self, connector: Connector, client: Client, account: str, user: str, dovecot: Dovecot
    ) -> None:
        raw = mail(
            "Grüße",
            sender="Größe Ücker <sender@example.org>",
            to=f"One <{user}>, two@example.net",
            text="plain\n",
            html='<p onclick="x()">Hi <script>x</script><b>you</b></p>',
            attachment=("note.pdf", PDF),
        )
        dovecot.deliver(user, raw)
        result = await execute(client, RETRIEVE, {"account": account})
        (found,) = connector.rows(Message, Message.account_id == result["account_id"])
        read = await execute(client, WorkflowType.GET_EMAIL_MESSAGE, {"message_id": found.id})
        assert read["subject"] == "Grüße"
        assert read["sender"] == "Größe Ücker <sender@example.org>"
        assert read["to"] == [f"One <{user}>", "two@example.net"]
        assert (read["direction"], read["status"]) == ("incoming", "received")
        assert connector.content(read["raw"]["key"]) == raw
        assert connector.content(read["text"]["key"]).decode().strip() == "plain"
        html = connector.content(read["html"]["key"]).decode()
        assert "<b>you</b>" in html
        assert "onclick" not in html
        assert "script" not in html
        assert [(p["name"], p["size"], p["position"]) for p in read["parts"]] == [
            ("note.pdf", len(PDF), "normal")
        ]
        assert read["raw"]["url"].startswith("http")

    async def test_get_folder_names(
        self, client: Client, account: str, user: str, dovecot: Dovecot
    ) -> None:
        dovecot.create_folder(user, "Größe/Ünter & Co")
        dovecot.create_folder(user, "Sent")
        result = await execute(client, WorkflowType.GET_FOLDER_NAMES, {"account": account})
        folders = {f["name"]: f for f in result["folders"]}
        assert folders["INBOX"]["selectable"]
        assert folders["Sent"]["special_use"] == "\\Sent"
        assert folders["Größe/Ünter & Co"]["selectable"]

    async def test_check_server_connection(self, client: Client, account: str) -> None:
        result = await execute(client, WorkflowType.CHECK_SERVER_CONNECTION, {"account": account})
        assert result["ok"]
        assert result["outgoing"]["ok"]
        assert "IDLE" in result["incoming"]["capabilities"]

    async def test_check_says_what_is_wrong(
        self,
        connector: Connector,
        client: Client,
        dovecot: Dovecot,
        postfix: Postfix,
        user: str,
    ) -> None:
        account = connector.add_account(
            password="not the password",
            outgoing=outgoing(postfix, username=user),
            incoming=incoming(dovecot, username=user),
        )
        result = await execute(client, WorkflowType.CHECK_SERVER_CONNECTION, {"account": account})
        assert not result["ok"]
        for side in ("outgoing", "incoming"):
            assert result[side]["error_type"] == "CredentialsRejected"
            assert result[side]["explanation"]


def stored_raws(connector: Connector, account_id: str) -> set[bytes]:
    """The raw bytes of all mails of an account, as they are read from the store."""
    found = connector.rows(Message, Message.account_id == account_id)
    return {connector.content(f"{m.id}.raw") for m in found}


def uids_left(dovecot: Dovecot, user: str) -> list[int]:
    """The UIDs in the inbox."""
    listed = dovecot.doveadm("-f", "flow", "fetch", "-u", user, "uid", "mailbox", "INBOX")
    return [int(line.removeprefix("uid=")) for line in listed.split()]
