"""Retrieving by POP3: the same runs and callbacks as by IMAP, from a maildrop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from temporalio.client import Client

from activities.store.accounts import Secrets
from models.account import AccountSettings
from models.errors import ConnectorError
from models.names import WorkflowType
from models.tables import Folder, Location, Maildrop, Message, Uidl
from tests.e2e.conftest import incoming, outgoing
from tests.e2e.harness import Connector, execute, fresh, refusal
from tests.e2e.mails import RawLog, delivered, mail
from tests.e2e.test_callbacks import batches, consumer_process, request, spec
from tests.pop3_server import Answer, Pop3Server, Session
from tools.servers.dovecot import Dovecot
from tools.servers.postfix import Postfix

SEND, RETRIEVE = WorkflowType.SEND_EMAIL, WorkflowType.RETRIEVE_EMAIL_MESSAGES


@pytest.fixture(scope="module")
def queue(common_connector: Connector) -> Iterator[str]:
    name = fresh("consumer-")
    with consumer_process(common_connector, name):
        yield name


def pop3(dovecot: Dovecot, **changes: Any) -> dict[str, Any]:
    return {"host": dovecot.host, "port": dovecot.pop3s_port, "protocol": "pop3s"} | changes


@pytest.fixture
def account(connector: Connector, dovecot: Dovecot, user: str) -> str:
    return connector.add_account(password=dovecot.password, incoming=pop3(dovecot, username=user))


@pytest.fixture
def mails(dovecot: Dovecot, user: str) -> list[bytes]:
    """Five mails in the maildrop."""
    raws = [mail(f"Mail {number}") for number in range(1, 6)]
    for raw in raws:
        dovecot.deliver(user, raw)
    return raws


def count(dovecot: Dovecot, user: str) -> int:
    where = dovecot.maildir(user)
    return sum(len(list((where / name).iterdir())) for name in ("new", "cur"))


async def test_what_was_sent_is_taken_over_and_removed(
    connector: Connector,
    client: Client,
    stranger: Client,
    dovecot: Dovecot,
    postfix: Postfix,
    user: str,
    queue: str,
) -> None:
    account = connector.add_account(
        password=dovecot.password,
        email_address=user,
        outgoing=outgoing(postfix, username=user),
        incoming=pop3(dovecot, username=user),
    )
    for subject in ("One", "Two", "Three"):
        message = {"to": user, "subject": subject, "content": "<p>Hello</p>"}
        assert (await execute(client, SEND, {"account": account, "message": message}))[
            "status"
        ] == "sent"
        delivered(dovecot, user, number=("One", "Two", "Three").index(subject) + 1)
    result = await execute(
        client,
        RETRIEVE,
        request(account, handling="remove", on_email_fetch=spec("Take", queue)),
    )
    assert (result["retrieved"], result["handled"], result["batches"]) == (3, 3, 2)
    assert count(dovecot, user) == 0
    taken = [
        await stranger.get_workflow_handle(str(row.workflow_id)).result()
        for row in batches(connector, result["retrieval_id"])
    ]
    subjects = [[m["subject"] for m in batch["messages"]] for batch in taken]
    assert subjects == [["One", "Two"], ["Three"]]
    assert {batch["folder"] for batch in taken} == {"INBOX"}
    again = await execute(client, RETRIEVE, request(account, handling="remove"))
    assert (again["retrieved"], again["handled"], again["batches"]) == (0, 0, 0)


async def test_nothing_is_removed_that_nobody_took_over(
    client: Client, dovecot: Dovecot, account: str, user: str, queue: str, mails: Sequence[bytes]
) -> None:
    found = await refusal(
        client,
        RETRIEVE,
        request(account, handling="remove", on_email_fetch=spec("RefuseSecondBatch", queue)),
    )
    assert found.type == "CallbackFailed"
    assert count(dovecot, user) == 3
    result = await execute(client, RETRIEVE, request(account, handling="remove"))
    assert (result["retrieved"], result["handled"]) == (3, 3)
    assert count(dovecot, user) == 0


async def test_a_second_run_says_nothing_that_changes_anything(
    connector: Connector, client: Client, talkative: Dovecot, user: str
) -> None:
    for number in range(3):
        talkative.deliver(user, mail(f"Mail {number}"))
    log = RawLog(talkative, user)
    account = connector.add_account(
        password=talkative.password,
        incoming=pop3(
            talkative, port=talkative.pop3_port, protocol="pop3", security="none", username=user
        ),
    )
    result = await execute(client, RETRIEVE, request(account))
    assert result["retrieved"] == 3
    said = log.take()
    assert said.count(b"RETR") == 3
    assert b"DELE" not in said
    again = await execute(client, RETRIEVE, request(account))
    assert again["retrieved"] == 0
    said = log.take()
    assert said.count(b"UIDL") == 1
    assert not any(word in said for word in (b"RETR", b"DELE", b"TOP", b"LIST"))


async def test_the_folder_and_the_check(client: Client, account: str, user: str) -> None:
    listed = await execute(client, WorkflowType.GET_FOLDER_NAMES, {"account": account})
    assert [folder["name"] for folder in listed["folders"]] == ["INBOX"]
    checked = await execute(client, WorkflowType.CHECK_SERVER_CONNECTION, {"account": account})
    assert checked["incoming"]["ok"]
    assert "UIDL" in checked["incoming"]["capabilities"]


@pytest.mark.parametrize(
    ("options", "type_", "field"),
    [
        ({"handling": "move", "move_folder": "Done"}, "CapabilityMissing", "handling"),
        ({"folder": "Other"}, "FolderNotFound", "folder"),
    ],
)
async def test_what_pop3_cannot_do_is_refused(
    client: Client,
    dovecot: Dovecot,
    account: str,
    user: str,
    mails: Sequence[bytes],
    options: dict[str, Any],
    type_: str,
    field: str,
) -> None:
    found = await refusal(client, RETRIEVE, request(account, **options))
    assert (found.type, found.field) == (type_, field)
    assert count(dovecot, user) == 5


@pytest.mark.parametrize(
    ("retrieval", "field"),
    [
        ({"handling": "move", "move_folder": "Done"}, "retrieval.handling"),
        ({"folder": "Other"}, "retrieval.folder"),
    ],
)
def test_an_account_is_not_set_up_for_what_pop3_cannot_do(
    connector: Connector, dovecot: Dovecot, retrieval: dict[str, Any], field: str
) -> None:
    with pytest.raises(ConnectorError) as caught:
        connector.add_account(incoming=pop3(dovecot, username="u"), retrieval=retrieval)
    assert (caught.value.type, caught.value.field) == ("InvalidInput", field)
    # Nor changed to it: the server of an account that moves.
    name = connector.add_account(incoming=incoming(dovecot, username="u"), retrieval=retrieval)
    changed = {
        "name": name,
        "email_address": "a@example.org",
        "incoming": pop3(dovecot, username="u"),
        "retrieval": retrieval,
    }
    with connector.store.database.write() as session:
        settings = AccountSettings.model_validate(changed)
        with pytest.raises(ConnectorError) as caught:
            connector.store.accounts.edit(session, name, settings, Secrets())
    assert (caught.value.type, caught.value.field) == ("InvalidInput", field)


@pytest.mark.parametrize("ways", [("pop3", "imap"), ("imap", "pop3")])
async def test_another_protocol_repeats_no_mail(
    connector: Connector,
    client: Client,
    dovecot: Dovecot,
    user: str,
    mails: Sequence[bytes],
    ways: tuple[str, str],
) -> None:
    servers = {"pop3": pop3(dovecot, username=user), "imap": incoming(dovecot, username=user)}
    account = connector.add_account(password=dovecot.password, incoming=servers[ways[0]])
    first = await execute(client, RETRIEVE, request(account))
    assert (first["retrieved"], first["known"]) == (5, 0)
    changed = AccountSettings.model_validate(
        {"name": account, "email_address": "a@example.org", "incoming": servers[ways[1]]}
    )
    with connector.store.database.write() as session:
        connector.store.accounts.edit(session, account, changed, Secrets())
    dovecot.deliver(user, mail("New"))
    second = await execute(client, RETRIEVE, request(account))
    assert (second["retrieved"], second["known"]) == (1, 5)
    rows = connector.rows(Message, Message.account_id == first["account_id"])
    assert len(rows) == 6


async def test_a_deleted_account_leaves_no_numbers(
    connector: Connector, client: Client, account: str, mails: Sequence[bytes]
) -> None:
    result = await execute(client, RETRIEVE, request(account))
    account_id = result["account_id"]
    assert len(connector.rows(Uidl, Uidl.account_id == account_id)) == 5
    with connector.store.database.write() as session:
        connector.store.accounts.delete(session, account)
    assert connector.rows(Uidl, Uidl.account_id == account_id) == []
    assert connector.rows(Maildrop, Maildrop.account_id == account_id) == []


async def _update_then_cut(session: Session, _argument: bytes) -> None:
    session.commit()
    session.writer.close()


async def _cut(session: Session, _argument: bytes) -> None:
    session.writer.close()


@pytest.mark.parametrize("answer", [_update_then_cut, _cut], ids=["done", "not done"])
async def test_a_quit_without_answer_is_settled_by_the_next_session(
    connector: Connector, client: Client, answer: Answer
) -> None:
    """No mail is marked as handled before the server has said so, or shows it no more."""
    handled: list[int] = []

    async def once(session: Session, argument: bytes) -> None:
        if not session.deleted:
            await session.send(b"+OK\r\n")
            return
        server.by_itself("QUIT")
        rows = connector.rows(Location, Location.handled_at != None)  # noqa: E711
        handled.append(sum(row.folder_id in folders(connector, account) for row in rows))
        assert callable(answer)
        await answer(session, argument)

    with Pop3Server() as server:
        server.on("QUIT", once)
        account = connector.add_account(
            incoming={
                "host": "localhost",
                "port": server.port,
                "protocol": "pop3",
                "security": "none",
                "username": "u",
            }
        )
        result = await execute(client, RETRIEVE, request(account, handling="remove", batch_size=5))
        assert (result["retrieved"], result["handled"]) == (3, 3)
        assert server.mails == []
        assert handled == [0]


def folders(connector: Connector, account: str) -> set[str]:
    """Ids of the account's folders."""
    with connector.store.database.read() as session:
        account_id = connector.store.accounts.get(session, account).id
    return {folder.id for folder in connector.rows(Folder, Folder.account_id == account_id)}
