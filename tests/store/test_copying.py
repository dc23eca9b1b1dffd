"""Copying a store: the same rows on the other side, or nothing at all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, text
from sqlmodel import Session, SQLModel, select

from activities.store.assembly import open_store
from activities.store.blob_stores import open_blobs
from activities.store.copying import Copied, copy_store
from activities.store.log import record
from activities.store.migrate import current
from models.errors import ConnectorError, ErrorType
from models.settings import Settings
from models.tables import (
    ContentRow,
    LogEntry,
    Maildrop,
    SendingSlot,
    SlowDown,
    Uidl,
    WebhookAttempt,
    WebhookDelivery,
    WebhookKey,
)
from starter.cli.main import run
from tests.store.kit import KINDS, Databases, databases
from tools.releases.reading import everything
from tools.releases.sample import INLINE_BYTES, populate
from tools.servers.s3 import S3Server

__all__ = ["databases"]

ROOT = Path(__file__).parents[2]
TABLES = SQLModel.metadata.sorted_tables

# A process that copies and is killed by the system in the middle of the third table.
_KILLED = """
import os, signal, sys
from activities.store.copying import copy_store
seen = set()
def progress(what, done, total):
    seen.add(what)
    if len(seen) == int(sys.argv[3]) and done:
        os.kill(os.getpid(), signal.SIGKILL)
copy_store(sys.argv[1], sys.argv[2], progress)
"""


def silent(_what: str, _done: int, _total: int) -> None:
    """Nobody looks."""


def settings_of(folder: Path, url: str) -> Settings:
    return Settings(
        data_dir=folder, database_url=url, blob_url=None, inline_content_bytes=INLINE_BYTES
    )


@pytest.fixture(params=KINDS)
def source(request: pytest.FixtureRequest, databases: Databases, tmp_path: Path) -> str:
    """The URL of a store with something of everything, its data folder is ``data``."""
    url = databases.url(request.param)
    store = open_store(settings_of(tmp_path / "data", url))
    populate(store)
    with store.database.write() as session:
        add_later_tables(session)
    store.close()
    return url


def add_later_tables(session: Session) -> None:
    """What the sample of the first release cannot have: tables that came later."""
    now = datetime.now(UTC)
    origin = "https://example.org"
    session.add(SendingSlot(scope="account/a", number=0, owner="w", leased_until=now))
    session.add(SlowDown(scope="host/mail.example.org", until=now, strikes=1, code=451))
    shop, validity = "account-shop", 2**62 + 1
    session.add(Maildrop(account_id=shop, uid_validity=validity, uid_next=8))
    session.add(Uidl(account_id=shop, uid_validity=validity, uid=7, uidl="!~0a4bc"))
    session.add(WebhookKey(number=1, sealed=b"k", created_at=now))
    session.add(
        WebhookDelivery(
            id="w",
            origin=origin,
            type="on_email_fetch",
            state="dead",
            url=b"u",
            body=b"{}",
            request_hash="h",
            driver="d",
            created_at=now,
        )
    )
    session.flush()
    session.add(
        WebhookAttempt(id="a", webhook_id="w", origin="https://example.org", started_at=now)
    )


@pytest.fixture
def target(source: str, databases: Databases) -> str:
    """The URL of an empty database of the other kind."""
    return databases.url("sqlite" if source.startswith("postgresql") else "postgresql")


def rows(databases: Databases, url: str) -> dict[str, list[dict[str, Any]]]:
    with databases.opened(url) as database, database.engine.connect() as connection:
        return {
            table.name: [
                dict(row)
                for row in connection.execute(
                    table.select().order_by(*table.primary_key.columns)
                ).mappings()
            ]
            for table in TABLES
        }


def is_empty(databases: Databases, url: str) -> bool:
    with databases.opened(url) as database, database.engine.connect() as connection:
        return inspect(connection).get_table_names() == []


def refusal(source: str, target: str) -> ConnectorError:
    with pytest.raises(ConnectorError) as caught:
        copy_store(source, target, silent)
    for url in (source, target):
        assert url not in str(caught.value)
    return caught.value


def test_there_and_back_gives_the_same_rows(source: str, target: str, databases: Databases) -> None:
    before = rows(databases, source)
    assert all(before[name] for name in before), "the sample has something of everything"
    there = copy_store(source, target, silent)
    assert there.tables == {name: len(found) for name, found in before.items()}
    assert there.blobs is None
    assert rows(databases, target) == before
    back = databases.url("sqlite" if source.startswith("sqlite") else "postgresql")
    assert copy_store(target, back, silent) == there
    assert rows(databases, back) == before


def test_a_copy_is_a_store(source: str, target: str, tmp_path: Path) -> None:
    copy_store(source, target, silent)
    seen = []
    for url in (source, target):
        store = open_store(settings_of(tmp_path / "data", url))
        seen.append(everything(store))
        with store.database.write() as session:
            record(session, "account_edited")  # numbered by the database
        with store.database.read() as session:
            numbers = list(session.exec(select(LogEntry.id)))
        assert len(numbers) == len(set(numbers)) == seen[-1]["rows"]["log_entry"] + 1
        store.close()
    assert seen[0] == seen[1]


def test_null_stays_null(source: str, target: str, databases: Databases) -> None:
    query = text('SELECT id FROM message WHERE "references" IS NULL ORDER BY id')
    found = []
    copy_store(source, target, silent)
    for url in (source, target):
        with databases.opened(url) as database, database.engine.connect() as connection:
            found.append(connection.execute(query).all())
    assert found[0] == found[1] != []


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_may_have_its_tables_already(source: str, kind: str, databases: Databases) -> None:
    target = databases.url(kind)
    with databases.opened(target, migrated=True):
        pass
    copy_store(source, target, silent)
    assert rows(databases, target) == rows(databases, source)


class TestRefusals:
    def test_a_target_that_is_not_empty(
        self, source: str, target: str, databases: Databases
    ) -> None:
        copy_store(source, target, silent)
        before = rows(databases, target)
        error = refusal(source, target)
        assert (error.type, error.field) == (ErrorType.INVALID_INPUT, "to")
        assert "not empty" in error.message
        assert rows(databases, target) == before

    @pytest.mark.parametrize("side", ["from", "to"])
    def test_another_revision(
        self, source: str, target: str, databases: Databases, side: str
    ) -> None:
        url = source if side == "from" else target
        with databases.opened(url, migrated=True) as database, database.write() as session:
            session.connection().execute(text("UPDATE alembic_version SET version_num = '0000'"))
        error = refusal(source, target)
        assert (error.type, error.field) == (ErrorType.INVALID_INPUT, side)
        assert "0000" in error.message

    def test_tables_of_somebody_else(self, source: str, target: str, databases: Databases) -> None:
        with databases.opened(target) as database, database.write() as session:
            session.connection().execute(text("CREATE TABLE message (id integer)"))
        assert refusal(source, target).field == "to"

    def test_a_source_in_use(self, source: str, target: str, databases: Databases) -> None:
        with databases.opened(source) as database:
            with database.read() as session:
                session.connection()  # goes back to the pool, and stays open
            error = refusal(source, target)
        assert (error.type, error.field) == (ErrorType.INVALID_INPUT, "from")
        assert "open" in error.message
        assert is_empty(databases, target)

    def test_a_source_that_is_none(self, target: str, databases: Databases) -> None:
        for kind in KINDS:
            assert refusal(databases.url(kind), target).field == "from"
        assert refusal(target, target).field == "to"

    def test_a_password_is_not_quoted(self, source: str) -> None:
        for url in ("mysql://user:canary@host/db", "postgres:canary", "canary"):
            error = refusal(source, url)
            assert error.type is ErrorType.INVALID_INPUT
            assert "canary" not in str(error)


class TestAllOrNothing:
    def test_damaged_content_in_the_database(
        self, source: str, target: str, databases: Databases
    ) -> None:
        with databases.opened(source) as database, database.write() as session:
            row = session.exec(select(ContentRow).where(ContentRow.key == "upload-1")).one()
            row.data = b"to be Sent"
            session.add(row)
        error = refusal(source, target)
        assert error.type is ErrorType.CONTENT_DAMAGED
        assert "upload-1" in error.message
        assert is_empty(databases, target)

    def test_a_row_the_target_cannot_hold(self, databases: Databases, tmp_path: Path) -> None:
        source, target = databases.url("sqlite"), databases.url("postgresql")
        open_store(settings_of(tmp_path / "data", source)).close()
        with databases.opened(source) as database, database.write() as session:
            # SQLite takes any length; PostgreSQL does not.
            record(session, "canary" * 20)
        error = refusal(source, target)
        assert "log_entry" in error.message
        assert "canary" not in error.message
        assert is_empty(databases, target)

    @pytest.mark.parametrize("moment", [1, 4, len(TABLES), len(TABLES) + 1])
    def test_a_copy_that_is_killed_leaves_nothing(
        self, source: str, target: str, databases: Databases, moment: int
    ) -> None:
        before = rows(databases, source)
        command = [sys.executable, "-c", _KILLED, source, target, str(moment)]
        killed = subprocess.run(command, cwd=ROOT, check=False)
        # Nothing is reported after the last table but the check of the content.
        assert killed.returncode == (0 if moment > len(TABLES) else -signal.SIGKILL)
        if killed.returncode:
            assert is_empty(databases, target)
            copy_store(source, target, silent)
        assert rows(databases, target) == before == rows(databases, source)


class TestLargeContent:
    @pytest.fixture
    def bucket(self, s3: S3Server) -> str:
        return s3.create_bucket("copied")

    def copy(self, source: str, target: str, folder: Path, to: str) -> Copied:
        blobs = open_blobs((folder / "data" / "content").as_uri()), open_blobs(to)
        return copy_store(source, target, silent, blobs=blobs)

    def test_it_is_copied_with_the_rows(
        self, source: str, target: str, tmp_path: Path, bucket: str
    ) -> None:
        where = f"{bucket}/{target.rpartition('_')[2]}"
        copied = self.copy(source, target, tmp_path, where)
        assert copied.blobs == len(list((tmp_path / "data" / "content").glob("*/*"))) > 3
        seen = []
        for url, blob_url in ((source, None), (target, where)):
            settings = settings_of(tmp_path / "data", url).model_copy(update={"blob_url": blob_url})
            store = open_store(settings)
            seen.append(everything(store))
            store.close()
        assert seen[0] == seen[1]

    @pytest.mark.parametrize("damage", ["changed", "gone"])
    def test_damage_stops_it(
        self, source: str, target: str, databases: Databases, tmp_path: Path, damage: str
    ) -> None:
        (victim, *_) = sorted((tmp_path / "data" / "content").glob("*/*"))
        if damage == "gone":
            victim.unlink()
        else:
            victim.write_bytes(victim.read_bytes()[:-1] + b"?")
        with pytest.raises(ConnectorError) as caught:
            self.copy(source, target, tmp_path, (tmp_path / "copied").as_uri())
        assert caught.value.type is (
            ErrorType.CONTENT_NOT_FOUND if damage == "gone" else ErrorType.CONTENT_DAMAGED
        )
        assert is_empty(databases, target)


class TestCommand:
    @pytest.fixture(autouse=True)
    def environment(self, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is copied is what is in use."""
        monkeypatch.setenv("EMAIL_CONNECTOR_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.setenv("EMAIL_CONNECTOR_DATABASE_URL", source)
        monkeypatch.delenv("EMAIL_CONNECTOR_BLOB_URL", raising=False)

    def test_a_program_reads_what_was_copied(
        self, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        to = (tmp_path / "copied").as_uri()
        assert run(["store", "copy", "--to", target, "--blobs-to", to, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert set(document["tables"]) == {table.name for table in TABLES}
        assert document["blobs"] == len(list((tmp_path / "copied").glob("*/*"))) > 3
        assert document["content_bytes"] > 0
        assert run(["store", "copy", "--to", target, "--json"]) == 1
        error = json.loads(capsys.readouterr().out)["error"]
        assert (error["type"], error["field"]) == ("InvalidInput", "to")

    def test_a_person_is_told_what_to_do_next(
        self, source: str, target: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["store", "copy", "--from", source, "--to", target]) == 0
        out = capsys.readouterr().out
        assert "EMAIL_CONNECTOR_DATABASE_URL" in out
        assert "log_entry" in out
        assert target not in out


def test_a_source_that_was_copied_can_still_be_used(databases: Databases, tmp_path: Path) -> None:
    source = databases.url("sqlite")
    settings = settings_of(tmp_path / "data", source)
    open_store(settings).close()
    copy_store(source, databases.url("postgresql"), silent)
    store = open_store(settings)
    with store.database.engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert current(connection) is not None
    store.close()
