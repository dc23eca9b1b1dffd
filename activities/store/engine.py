"""The database engine. SQLite runs in WAL mode with synchronous=FULL: a commit is on disk."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import URL, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InvalidatePoolError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlmodel import Session

from activities.ports import Metrics
from activities.store import tallies
from activities.unwatched import NO_METRICS
from models.errors import ConnectorError, ErrorType

_SQLITE_PRAGMAS = (
    "PRAGMA busy_timeout=30000",  # first: the next one already waits for others
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    # Of 16 MB each: mails have random keys, and a page of an index is to be read and written for
    # many of them at once.
    "PRAGMA cache_size=-16000",
    "PRAGMA wal_autocheckpoint=4000",
)

_TRUSTED_SECONDS = 1.0
"""A connection to PostgreSQL that was of use within this time is not asked whether it lives."""
_CONNECT_SECONDS = 10
"""Patience for a PostgreSQL server that does not answer at all."""


class Database:
    """Sessions over one engine.

    Args:
        url: SQLAlchemy URL; ``sqlite:///FILE`` or ``postgresql+psycopg://…``.
        pool_size: Connections kept; at least one per thread that works on the store.
        metrics: Told what was tallied in a transaction, once it is committed.

    Attributes:
        metrics: The same.
    """

    def __init__(self, url: str, *, pool_size: int = 24, metrics: Metrics = NO_METRICS) -> None:
        self.metrics = metrics
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite and self.url.database:
            file = Path(self.url.database)
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file.touch(mode=0o600)
        self.engine: Engine = create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_use_lifo=True,  # the one that has our statements prepared
            connect_args={} if self.is_sqlite else _postgresql_arguments(self.url),
            json_serializer=lambda value: to_json(value).decode(),
            json_deserializer=from_json,
        )
        # SQLite lets writers wait by sleeping, ever longer, and wakes none of them: within one
        # process they take turns instead.
        self._turn: AbstractContextManager[Any] = Lock() if self.is_sqlite else nullcontext()
        if self.is_sqlite:
            # A read must not take the write lock; a write takes it at once, so that it waits
            # instead of failing half-way when it turns from reader to writer.
            self._reader = self.engine.execution_options(reads_only=True)
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            _ask_idle_connections(self.engine)
            # All statements of a read see one state, as they do in SQLite.
            self._reader = self.engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction: committed when the block ends, rolled back when it raises."""
        with translated(), self._turn, Session(self.engine, expire_on_commit=False) as session:
            with session.begin():
                yield session
            tallies.tell(session, self.metrics)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A snapshot to read from."""
        with translated(), Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def driver(self) -> Iterator[Any]:
        """The driver's own cursor, for statements that SQLAlchemy would make slower.

        On SQLite the block is a transaction; on PostgreSQL each statement is one.
        """
        dialect = self.engine.dialect
        errors = dialect.loaded_dbapi.Error
        with translated(), self._turn:
            connection = self.engine.raw_connection()
            try:
                with _in_transaction(connection) if self.is_sqlite else _one_by_one(connection):
                    yield connection.cursor()
            except errors as error:
                gone = dialect.is_disconnect(error, connection.driver_connection, None)
                if gone:
                    connection.invalidate(error)
                raise DBAPIError.instance(
                    None, None, error, errors, connection_invalidated=gone, dialect=dialect
                ) from None
            finally:
                connection.close()

    def ask(self) -> None:
        """Make the database answer a question; raises ``StoreUnavailable`` when it does not."""
        with self.read() as session:
            session.connection().execute(text("SELECT 1"))

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def parse_url(url: str) -> URL:
    """Return the URL of a database.

    Raises:
        ConnectorError: ``InvalidInput`` when it is none of the two kinds; its text, which may hold
            a password, is not quoted.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    match parsed.drivername if parsed else "":
        case "sqlite" | "sqlite+pysqlite" if parsed and parsed.database not in (None, ":memory:"):
            return parsed
        case "postgresql" | "postgres" | "postgresql+psycopg" if parsed:
            return parsed.set(drivername="postgresql+psycopg")
    raise ConnectorError(
        ErrorType.INVALID_INPUT,
        "this is no database we know; write postgresql+psycopg://USER:PASSWORD@HOST/DATABASE or "
        "sqlite:////FOLDER/FILE",
        field="EMAIL_CONNECTOR_DATABASE_URL",
    )


def _postgresql_arguments(url: URL) -> dict[str, Any]:
    """Connection arguments that go before those of the URL."""
    given = url.query.get("options", "")
    options = given if isinstance(given, str) else " ".join(given)
    # Without the zone the server's own decides which instants can be read back.
    arguments: dict[str, Any] = {"options": f"{options} -c timezone=UTC".strip()}
    if "connect_timeout" not in url.query:
        arguments["connect_timeout"] = _CONNECT_SECONDS
    return arguments


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the database library raises into ``ConnectorError``, without its texts."""
    try:
        yield
    except (OperationalError, DBAPIError) as error:
        # Constraint violations are bugs or races that the repositories handle themselves; what is
        # left here is a database that is away, locked or full. Its text may quote parameters.
        if isinstance(error, OperationalError) or error.connection_invalidated:
            raise ConnectorError(
                ErrorType.STORE_UNAVAILABLE,
                f"the database did not answer ({type(error.orig).__name__}); it is tried again",
            ) from None
        raise ConnectorError(
            ErrorType.INTERNAL, f"the database refused a statement ({type(error.orig).__name__})"
        ) from None
    except SQLAlchemyError as error:
        raise ConnectorError(
            ErrorType.STORE_UNAVAILABLE, f"the store failed ({type(error).__name__})"
        ) from None


def _ask_idle_connections(engine: Engine) -> None:
    """Ask a connection that was idle whether it lives; one in use a moment ago is not asked.

    ``pool_pre_ping`` asks each time, which costs a busy writer a round trip for each transaction.
    """

    def used(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["used"] = time.monotonic()

    def ask(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("used", time.monotonic()) < _TRUSTED_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error:
            raise InvalidatePoolError from None  # the others are as old: the server was restarted

    event.listen(engine, "checkin", used)
    event.listen(engine, "checkout", ask)


@contextmanager
def _in_transaction(connection: PoolProxiedConnection) -> Iterator[None]:
    connection.cursor().execute("BEGIN IMMEDIATE")
    yield
    connection.commit()  # else it is rolled back on its way to the pool


@contextmanager
def _one_by_one(connection: PoolProxiedConnection) -> Iterator[None]:
    driver: Any = connection.driver_connection
    driver.autocommit = True
    try:
        yield
    finally:
        if not driver.closed:
            driver.autocommit = False


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we begin transactions ourselves
    for pragma in _SQLITE_PRAGMAS:
        connection.execute(pragma)


def _begin_sqlite(connection: Any) -> None:
    options = connection.get_execution_options()
    if options.get("foreign_keys_off", False):  # this is possible between transactions only
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
    reads_only = options.get("reads_only", False)
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")
