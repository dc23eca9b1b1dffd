"""Bulk inserts give every kind of value back as it was, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import text
from sqlmodel import select

from activities.store.insertion import insert_missing
from models.delivery import MessageStatus
from models.names import Direction
from models.tables import AccountRow, ContentRow, Message
from tests.store.kit import KINDS, Databases, databases

__all__ = ["databases"]

HARD = "\"'\\ {}%(rows)s\tä€𝄞 \u2028\x01"
EAST = timezone(timedelta(hours=5, minutes=30))


@pytest.mark.parametrize("kind", KINDS)
def test_values_come_back_as_they_were(databases: Databases, kind: str) -> None:
    when = datetime(2026, 11, 27, 8, 30, 0, 123456, tzinfo=EAST)
    message = {
        "id": "m",
        "account_id": "a",
        "direction": Direction.INCOMING,
        "identity": "i",
        "request_hash": None,
        "status": MessageStatus.RECEIVED,
        "internet_message_id": HARD,
        "in_reply_to": None,
        "references": [HARD, ""],
        "subject": HARD,
        "sender": HARD,
        "to": [],
        "cc": [HARD],
        "reply_to": [],
        "date": when,
        "size": 2**31 - 1,
        "attachments": 0,
        "quarantined": None,
        "created_at": when,
        "sent_at": None,
    }
    content = {
        "key": "m.raw",
        "message_id": "m",
        "kind": "raw",
        "media_type": "message/rfc822",
        "size": 256,
        "sha256": "0" * 64,
        "data": bytes(range(256)),
        "created_at": when,
    }
    with databases.opened(databases.url(kind), migrated=True) as database:
        with database.write() as session:
            account = AccountRow(id="a", name="a", settings={}, created_at=when, updated_at=when)
            session.add(account)
            session.flush()
            assert insert_missing(session, Message, [message]) == 1
            assert insert_missing(session, ContentRow, [content]) == 1
        with database.read() as session:
            found = session.exec(select(Message)).one().model_dump(include=set(message))
            piece = session.exec(select(ContentRow)).one().model_dump(include=set(content))
    assert found == message
    assert found["date"].astimezone(UTC) == when
    assert piece == content


def test_postgresql_compresses_content_by_lz4(databases: Databases) -> None:
    with (
        databases.opened(databases.url("postgresql"), migrated=True) as database,
        database.read() as session,
    ):
        method = session.connection().execute(
            text(
                "SELECT attcompression FROM pg_attribute"
                " WHERE attrelid = 'content'::regclass AND attname = 'data'"
            )
        )
        assert method.scalar_one() in ("l", b"l")
