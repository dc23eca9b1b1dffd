"""Copies a whole store into an empty one: all of it, or nothing.

The target's tables and rows are made in one transaction, which is committed after everything in it
has been read back and compared. Large content is copied before that commit: a copy that is killed
leaves an empty database and at most blobs that nothing refers to.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from sqlalchemy import JSON, Connection, MetaData, Table, func, insert, inspect, select, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlmodel import SQLModel

import models.tables  # noqa: F401 - registers the tables
from activities.store.blobs import Blobs
from activities.store.content import blob_key
from activities.store.engine import Database, parse_url, translated
from activities.store.migrate import configuration, current, head, migrating
from models.errors import ConnectorError, ErrorType

_CONTENT = SQLModel.metadata.tables["content"]

_ROWS = 200
"""Rows read and written at once; the largest, content in the database, are some 256 KB each."""
_BLOBS_AT_ONCE = 4
_QUIET_SECONDS = 3.0

Progress = Callable[[str, int, int], None]
"""Told what is being done, and how many of how many."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy consists of."""

    tables: dict[str, int]
    """Rows by table."""
    content_bytes: int
    """Bytes of content in the database, all of which match their hashes."""
    blobs: int | None
    """Pieces in the blob store, all of which match their hashes; None when they were left alone."""


def copy_store(
    source_url: str,
    target_url: str,
    progress: Progress,
    *,
    blobs: tuple[Blobs, Blobs] | None = None,
) -> Copied:
    """Copy a database into an empty one, and the large content if ``blobs`` says from and to.

    Raises:
        ConnectorError: ``InvalidInput`` when the source is in use or not of this version, or the
            target is not empty; ``ContentDamaged`` or ``ContentNotFound`` when the source is.
    """
    _check_urls(source_url, target_url)
    source, target = Database(source_url), Database(target_url)
    try:
        with _undisturbed(source) as reading, migrating(target) as writing:
            _prepare(writing)
            tables = {
                table.name: _copy_table(reading, writing, table, progress) for table in _tables()
            }
            _reset_sequences(writing)
            content_bytes = _verify_content(writing, progress)
            copied = None if blobs is None else _copy_blobs(writing, *blobs, progress)
            for table in _tables():
                if _count(writing, table) != tables[table.name]:
                    raise ConnectorError(
                        ErrorType.INTERNAL, f"rows of {table.name} were lost; nothing was copied"
                    )
        return Copied(tables, content_bytes, copied)
    finally:
        source.close()
        target.close()


def _check_urls(source: str, target: str) -> None:
    url = parse_url(source)
    if url == parse_url(target):
        raise _refused("to", "this is the source itself")
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise _refused("from", "there is no such file")


@cache
def _tables() -> Sequence[Table]:
    """All tables, parents first; in copies of their own, which keep NULL what is NULL."""
    metadata = MetaData()
    for table in SQLModel.metadata.sorted_tables:
        for column in table.to_metadata(metadata).columns:
            if isinstance(column.type, JSON):
                column.type = JSON(none_as_null=True)
    return metadata.sorted_tables


@contextmanager
def _undisturbed(source: Database) -> Iterator[Connection]:
    """A transaction on a source that nobody else has open, and nobody can change meanwhile."""
    with translated(), source.engine.connect() as connection:
        if source.is_sqlite:
            _leave_wal(connection)
            with connection.begin():  # BEGIN IMMEDIATE keeps writers away
                _check_revision(connection)
                yield connection
            return
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            _refuse_sessions(connection)
            _check_revision(connection)
            _lock(connection, "SHARE")
            yield connection


def _leave_wal(connection: Connection) -> None:
    """Close the log of an SQLite file, which succeeds only when nobody else has it open."""
    file: Any = connection.connection.driver_connection
    file.execute(f"PRAGMA busy_timeout={int(_QUIET_SECONDS * 1000)}")
    try:
        (mode,) = file.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.OperationalError:
        mode = None
    if mode != "delete":
        raise _in_use()


def _refuse_sessions(connection: Connection) -> None:
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    # A session that was just closed is there for a moment longer.
    until = time.monotonic() + _QUIET_SECONDS
    while connection.execute(others).scalar_one():
        if time.monotonic() > until:
            raise _in_use()
        time.sleep(0.1)


def _in_use() -> ConnectorError:
    return _refused(
        "from", "another program has this database open; stop 'up', workers and endpoints first"
    )


def _check_revision(connection: Connection) -> None:
    found = current(connection)
    if found is None:
        raise _refused("from", "this database holds no store")
    if found != head():
        raise _refused(
            "from",
            f"the database is at revision {found}, this version works with {head()}; "
            "start this version on it once, or use the one that belongs to it",
        )


def _lock(connection: Connection, mode: str) -> None:
    names = ", ".join(f'"{table.name}"' for table in _tables())
    connection.exec_driver_sql(f"LOCK TABLE {names} IN {mode} MODE")


def _prepare(connection: Connection) -> None:
    """Make the tables where there are none, and see that they are empty."""
    found = current(connection)
    if found is None:
        taken = {table.name for table in _tables()} & set(inspect(connection).get_table_names())
        if taken:
            raise _refused("to", "another program's tables have the names of ours")
        command.upgrade(configuration(connection), "head")
    elif found != head():
        raise _refused(
            "to",
            f"the database is at revision {found}, this version works with {head()}; "
            "give it an empty one",
        )
    if connection.dialect.name == "postgresql":
        _lock(connection, "SHARE ROW EXCLUSIVE")
    for table in _tables():
        if connection.execute(select(1).select_from(table).limit(1)).first() is not None:
            raise _refused("to", f"the database is not empty: there are rows in {table.name}")


def _copy_table(source: Connection, target: Connection, table: Table, progress: Progress) -> int:
    total, done = _count(source, table), 0
    progress(table.name, done, total)
    query = select(table).order_by(*table.primary_key.columns)
    with source.execute(query, execution_options={"yield_per": _ROWS}) as rows:
        for batch in rows.mappings().partitions():
            try:
                target.execute(insert(table), [dict(row) for row in batch])
            except DatabaseError as error:
                if isinstance(error, OperationalError):
                    raise
                raise ConnectorError(
                    ErrorType.INTERNAL,
                    f"the target refused a row of {table.name} ({type(error.orig).__name__}); "
                    "nothing was copied",
                ) from None
            done += len(batch)
            progress(table.name, done, total)
    return done


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _reset_sequences(connection: Connection) -> None:
    """Let PostgreSQL go on counting after the copied rows; SQLite does so by itself."""
    if connection.dialect.name != "postgresql":
        return
    for table in _tables():
        column = table.autoincrement_column
        if column is None:
            continue
        sequence = connection.execute(
            select(func.pg_get_serial_sequence(table.name, column.name))
        ).scalar_one()
        last = connection.execute(select(func.max(column))).scalar_one()
        if sequence is not None:
            connection.execute(select(func.setval(sequence, last or 1, last is not None)))


def _verify_content(connection: Connection, progress: Progress) -> int:
    """Read back what was written; returns how many bytes."""
    rows = connection.execute(
        select(_CONTENT.c.key, _CONTENT.c.sha256, _CONTENT.c.data).where(
            _CONTENT.c.data.is_not(None)
        ),
        execution_options={"yield_per": _ROWS},
    )
    total = 0
    progress("checking content", 0, 0)
    with rows:
        for key, digest, data in rows:
            _check_hash(key, digest, data)
            total += len(data)
    return total


def _copy_blobs(connection: Connection, source: Blobs, target: Blobs, progress: Progress) -> int:
    target.check()
    pieces = connection.execute(
        select(_CONTENT.c.key, _CONTENT.c.sha256).where(_CONTENT.c.data.is_(None))
    ).all()

    def copy(piece: tuple[str, str]) -> None:
        key, digest = piece
        name = blob_key(key, digest)
        data = source.get(name)
        _check_hash(key, digest, data)
        target.put([(name, data)])
        _check_hash(key, digest, target.get(name))

    progress("large content", 0, len(pieces))
    with ThreadPoolExecutor(_BLOBS_AT_ONCE) as threads:
        try:
            for number, _ in enumerate(threads.map(copy, pieces), 1):
                progress("large content", number, len(pieces))
        except BaseException:
            threads.shutdown(wait=True, cancel_futures=True)
            raise
    return len(pieces)


def _check_hash(key: str, digest: str, data: bytes) -> None:
    if hashlib.sha256(data).hexdigest() != digest:
        raise ConnectorError(
            ErrorType.CONTENT_DAMAGED,
            f"content {key} does not match its hash; restore it from a backup first",
        )


def _refused(field: str, reason: str) -> ConnectorError:
    return ConnectorError(ErrorType.INVALID_INPUT, reason, field=field)
