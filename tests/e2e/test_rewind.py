"""Stored mails are told again, without the server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client

from models.names import WorkflowType
from models.tables import Acknowledgement, CallbackDelivery, Cursor, Folder, Location
from tests.e2e.conftest import incoming
from tests.e2e.harness import Connector, execute, fresh, refusal
from tests.e2e.mails import RawLog, mail
from tests.e2e.test_callbacks import batches, consumer_process, spec
from tools.servers.dovecot import Dovecot

RETRIEVE = WorkflowType.RETRIEVE_EMAIL_MESSAGES
MAILS = 5


@pytest.fixture(scope="module")
def queue(common_connector: Connector) -> Iterator[str]:
    name = fresh("consumer-")
    with consumer_process(common_connector, name):
        yield name


def request(account: str, queue: str, **options: Any) -> dict[str, Any]:
    callback = spec("Take", queue)
    return {
        "account": account,
        "replicate_everything": True,
        "batch_size": 2,
        "on_email_fetch": callback,
        **options,
    }


async def told(stranger: Client, connector: Connector, retrieval_id: str) -> list[list[int]]:
    """UIDs of each batch, as the consumer got them."""
    found = []
    for row in batches(connector, retrieval_id):
        taken = await stranger.get_workflow_handle(str(row.workflow_id)).result()
        found.append([m["uid"] for m in taken["messages"]])
    return found


@pytest.mark.parametrize("handling", ["none", "remove"])
async def test_mails_come_again_out_of_the_store(
    connector: Connector,
    client: Client,
    stranger: Client,
    talkative: Dovecot,
    user: str,
    queue: str,
    handling: str,
) -> None:
    begun = datetime.now(UTC)
    for number in range(1, MAILS + 1):
        talkative.deliver(user, mail(f"Mail {number}"))
    log = RawLog(talkative, user)
    account = connector.add_account(
        password=talkative.password, incoming=incoming(talkative, username=user)
    )
    first = await execute(client, RETRIEVE, request(account, queue, handling=handling))
    assert first["retrieved"] == MAILS
    log.take()
    (folder,) = connector.rows(Folder, Folder.account_id == first["account_id"])
    (before,) = connector.rows(Cursor, Cursor.folder_id == folder.id)
    acknowledged = len(connector.rows(Acknowledgement))

    rewinds: list[tuple[dict[str, Any], list[list[int]]]] = [
        ({"from_uid": 4}, [[4, 5]]),
        ({"since": (begun - timedelta(seconds=1)).isoformat()}, [[1, 2], [3, 4], [5]]),
        ({"since": (datetime.now(UTC) + timedelta(days=1)).isoformat()}, []),
    ]
    (third,) = connector.rows(Location, Location.folder_id == folder.id, Location.uid == 3)
    rewinds.append(({"message_id": third.message_id}, [[3]]))
    for rewind, expected in rewinds:
        asked = request(account, queue, handling=handling, rewind=rewind)
        again = await execute(client, RETRIEVE, asked)
        assert await told(stranger, connector, again["retrieval_id"]) == expected
        count = sum(len(uids) for uids in expected)
        assert (again["retrieved"], again["known"], again["handled"]) == (count, 0, 0)
    assert log.take() == b"", "the server was asked"
    (after,) = connector.rows(Cursor, Cursor.folder_id == folder.id)
    assert after == before
    assert len(connector.rows(Acknowledgement)) == acknowledged
    states = {b.state for b in connector.rows(CallbackDelivery) if b.folder_id == folder.id}
    assert states == {"settled"}

    # What comes afterwards comes as ever.
    talkative.deliver(user, mail("Later"))
    later = await execute(client, RETRIEVE, request(account, queue, handling=handling))
    assert await told(stranger, connector, later["retrieval_id"]) == [[MAILS + 1]]


@pytest.mark.parametrize(
    ("rewind", "kind", "field"),
    [
        ({"message_id": "nobody-knows-it"}, "MessageNotFound", "rewind.message_id"),
        ({}, "InvalidInput", "rewind"),
        ({"from_uid": 1, "message_id": "x"}, "InvalidInput", "rewind"),
        ({"from_uid": 0}, "InvalidInput", "rewind.from_uid"),
        ({"since": "yesterday"}, "InvalidInput", "rewind.since"),
    ],
)
async def test_a_rewind_that_means_nothing(
    client: Client, account: str, queue: str, rewind: dict[str, Any], kind: str, field: str
) -> None:
    found = await refusal(client, RETRIEVE, request(account, queue, rewind=rewind))
    assert (found.type, found.field) == (kind, field)


async def test_the_same_mail_twice_is_told_again_once(
    client: Client, account: str, queue: str, dovecot: Dovecot, user: str
) -> None:
    raw = mail("Twice")
    for _ in range(3):
        dovecot.deliver(user, raw)
    await execute(client, RETRIEVE, request(account, queue))
    asked = request(account, queue, batch_size=1, rewind={"from_uid": 1})
    again = await execute(client, RETRIEVE, asked)
    assert (again["retrieved"], again["known"]) == (1, 2)
