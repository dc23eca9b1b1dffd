"""Group commit: one broken write is its own failure, and the thread survives everything."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlmodel import Session, col, select

from activities.store.committer import Committer
from activities.store.engine import Database
from models.errors import ConnectorError, ErrorType
from models.tables import LogEntry
from tests.unit.store_kit import database

__all__ = ["database"]


@pytest.fixture
def committer(database: Database) -> Iterator[Committer]:
    committer = Committer(database)
    yield committer
    committer.close()


def entry(session: Session, name: str) -> str:
    session.add(LogEntry(at=datetime.now(UTC), event=name, detail={}))
    session.flush()
    return name


def broken(session: Session) -> str:
    entry(session, "half done")
    raise KeyError("secret text of a bug")


def refused(session: Session) -> str:
    entry(session, "half done")
    raise ConnectorError(ErrorType.LEASE_LOST, "taken over")


def events(database: Database, *names: str) -> list[str]:
    query = select(LogEntry.event).where(col(LogEntry.event).in_(names))
    with database.read() as session:
        return sorted(session.exec(query))


async def test_a_broken_write_fails_alone(committer: Committer, database: Database) -> None:
    a, b = uuid.uuid4().hex, uuid.uuid4().hex
    writes = [lambda s: entry(s, a), broken, lambda s: entry(s, b), refused]
    results = await asyncio.gather(
        *(committer.commit(write) for write in writes * 10), return_exceptions=True
    )
    for number, result in enumerate(results):
        match number % 4:
            case 0 | 2:
                assert result in (a, b)
            case 1:
                assert isinstance(result, ConnectorError)
                assert result.type is ErrorType.INTERNAL
                assert "secret" not in str(result)
            case _:
                assert isinstance(result, ConnectorError)
                assert result.type is ErrorType.LEASE_LOST
    assert events(database, a, b) == sorted([a] * 10 + [b] * 10)
    assert events(database, "half done") == []


async def test_a_write_whose_caller_is_gone_is_committed(
    committer: Committer, database: Database
) -> None:
    kept = uuid.uuid4().hex
    tasks = [asyncio.create_task(committer.commit(lambda s: entry(s, kept))) for _ in range(50)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await committer.commit(lambda s: entry(s, "after")) == "after"
    assert len(events(database, kept)) == 50


async def test_a_database_in_trouble_fails_the_group_for_now(
    committer: Committer, database: Database
) -> None:
    def dropped(session: Session) -> str:
        session.connection().exec_driver_sql("SELECT * FROM no_such_table")
        return ""

    with pytest.raises(ConnectorError) as caught:
        await committer.commit(dropped)
    assert caught.value.type in (ErrorType.STORE_UNAVAILABLE, ErrorType.INTERNAL)
    assert await committer.commit(lambda s: entry(s, "on")) == "on"
