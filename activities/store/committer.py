"""Group commit: concurrent small writes share one transaction and one fsync.

Async code submits a function and awaits its result, which arrives after the commit; a commit for
each of them would be eight times slower (docs/architecture.md#store).
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlmodel import Session

from activities.ports import Metrics
from activities.store import tallies
from activities.store.engine import Database
from activities.timing import timed
from activities.unwatched import NO_METRICS
from models.errors import ConnectorError, ErrorType
from models.metrics import COMMIT_DURATION, COMMIT_GROUP

T = TypeVar("T")
_Job = tuple[Callable[[Session], Any], "Future[Any]"]

MAX_GROUP = 100


class Committer:
    """One thread that runs submitted writes in groups.

    A write that raises is rolled back alone; the others of its group are committed.
    """

    def __init__(self, database: Database, metrics: Metrics = NO_METRICS) -> None:
        self._database = database
        self._metrics = metrics
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    async def commit(self, write: Callable[[Session], T]) -> T:
        """Run ``write`` in a transaction and return its result once that is committed."""
        return await asyncio.wrap_future(self.submit(write))

    def submit(self, write: Callable[[Session], T]) -> Future[T]:
        """Queue ``write``; the future is done after the commit."""
        future: Future[T] = Future()
        self._jobs.put((write, future))
        return future

    def close(self) -> None:
        """Finish what is queued and stop."""
        self._jobs.put(None)
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            group, last = self._group(job)
            self._commit(group)
            if last:
                return

    def _group(self, first: _Job) -> tuple[list[_Job], bool]:
        group = [first]
        while len(group) < MAX_GROUP:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return group, True
            group.append(job)
        return group, False

    def _commit(self, group: list[_Job]) -> None:
        # A cancelled caller no longer waits, but what it asked for may already be known to a
        # peer (an outcome, say): it is committed all the same.
        waiting = [
            (write, future, future.set_running_or_notify_cancel()) for write, future in group
        ]
        done: list[tuple[Future[Any], Any]] = []
        failed: list[tuple[Future[Any], ConnectorError]] = []
        try:
            with timed(self._metrics, COMMIT_DURATION), self._database.write() as session:
                for write, future, heard in waiting:
                    # One that is alone has no neighbours that its failure could take along.
                    isolated = _isolated if len(waiting) > 1 else _plainly
                    result, problem = isolated(session, write)
                    if not heard:
                        continue
                    if problem is None:
                        done.append((future, result))
                    else:
                        failed.append((future, problem))
        except Exception as error:  # noqa: BLE001 - whatever it is, every waiting caller must hear it
            reason = error if isinstance(error, ConnectorError) else _internal(error)
            failed = [(future, reason) for _, future, heard in waiting if heard]
            done = []
        else:
            self._metrics.observe(COMMIT_GROUP, len(group))
        for future, result in done:
            future.set_result(result)
        for future, problem in failed:
            future.set_exception(problem)


def _plainly(session: Session, write: Callable[[Session], Any]) -> tuple[Any, None]:
    return write(session), None


def _isolated(
    session: Session, write: Callable[[Session], Any]
) -> tuple[Any, ConnectorError | None]:
    """Run one write in a savepoint; its own failure must not take its neighbours along."""
    noted = tallies.mark(session)
    try:
        with session.begin_nested():
            return write(session), None
    except ConnectorError as error:
        tallies.forget_since(session, noted)
        return None, error
    except OperationalError:
        raise  # the database itself is in trouble: nobody's write can be trusted
    except Exception as error:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            raise
        tallies.forget_since(session, noted)
        return None, _internal(error)


def _internal(error: Exception) -> ConnectorError:
    return ConnectorError(ErrorType.INTERNAL, f"a write failed ({type(error).__name__})")
