"""The database engine. SQLite runs in WAL mode with synchronous=FULL: a commit is on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlmodel import Session

from activities.ports import Metrics
from activities.store import tallies
from activities.unwatched import NO_METRICS
from models.errors import ConnectorError, ErrorType

_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA busy_timeout=30000",
)


class Database:
    """Sessions over one engine.

    Args:
        url: SQLAlchemy URL; ``sqlite:///FILE`` or ``postgresql+psycopg://…``.
        pool_size: Connections kept; at least one per thread that works on the store.
        metrics: Told what was tallied in a transaction, once it is committed.
    """

    def __init__(self, url: str, *, pool_size: int = 24, metrics: Metrics = NO_METRICS) -> None:
        self._metrics = metrics
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        if self.is_sqlite and (file := make_url(url).database):
            Path(file).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            Path(file).touch(mode=0o600)
        self.engine: Engine = create_engine(
            url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=not self.is_sqlite,
            # Without it the server's own zone decides which instants can be read back.
            connect_args={} if self.is_sqlite else {"options": "-c timezone=UTC"},
            json_serializer=lambda value: to_json(value).decode(),
            json_deserializer=from_json,
        )
        # A read on SQLite must not take the write lock; a write takes it at once, so that it
        # waits instead of failing half-way when it turns from reader to writer.
        self._reader = self.engine.execution_options(reads_only=True)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction: committed when the block ends, rolled back when it raises."""
        with _translated(), Session(self.engine, expire_on_commit=False) as session:
            with session.begin():
                yield session
            tallies.tell(session, self._metrics)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A snapshot to read from."""
        with _translated(), Session(self._reader, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
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


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we begin transactions ourselves
    for pragma in _SQLITE_PRAGMAS:
        connection.execute(pragma)


def _begin_sqlite(connection: Any) -> None:
    reads_only = connection.get_execution_options().get("reads_only", False)
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")
