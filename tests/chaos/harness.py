"""A world to kill in: Temporal, mail servers, a callback worker and two workers on one store."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from temporalio.client import Client

from activities.store.assembly import Store, open_store
from models.connection import connect
from models.settings import Settings
from models.wire import data_converter
from tests.chaos.control import Action, Control, Crash
from tests.chaos.processes import LedgerServer, PythonServer, WorkerProcess
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot
from tools.servers.postgres import Postgres
from tools.servers.process import ChildServer, ServerError
from tools.temporal.devserver import DevServer

HEARTBEAT_SECONDS = 2.0
WORKERS = 2
_POLL = 0.02
_SIGNALS = {
    Action.KILL: signal.SIGKILL,
    Action.STOP: signal.SIGSTOP,
    Action.END: signal.SIGTERM,
}
RANDOM = "at random"

_SETTINGS: dict[str, object] = {
    "heartbeat_timeout_seconds": HEARTBEAT_SECONDS,
    "retry_delays_seconds": [0.3, 0.6, 1.0],
    "slot_lease_seconds": 3,
    "slow_down_seconds": 0.3,
    "mailbox_busy_seconds": 10,
    "smtp_concurrency": 20,
    "queue_lease_seconds": 3,
    "queue_round_seconds": 2,
    "queue_connections": 3,
    "imap_concurrency": 4,
    "shutdown_seconds": 1,
}


@dataclass(frozen=True)
class Blow:
    """A worker is killed, frozen or ended: at a point, or at a random moment without one."""

    point: str | None
    action: Action = Action.KILL


@dataclass(frozen=True)
class Restart:
    """A server is killed and started again on its data: ``temporal`` or ``postgres``."""

    server: str


def blows(points: Sequence[str], times: int, at_random: int, rng: random.Random) -> list[Blow]:
    """Each point so many times and some at random moments, in random order.

    A take-over happens only after an attempt was lost, so such a loss comes right before.
    """
    first = [Blow(p) for p in points if not p.startswith("take_over") for _ in range(times)]
    first += [Blow(None, Action.END if n % 4 == 3 else Action.KILL) for n in range(at_random)]
    rng.shuffle(first)
    for point in (p for p in points if p.startswith("take_over")):
        for _ in range(times):
            at = rng.randrange(len(first))
            first[at:at] = [Blow("smtp.before_dot"), Blow(point)]
    return first


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    while not condition():  # noqa: ASYNC110 - there is nobody here to set an event
        await asyncio.sleep(_POLL)


class World:
    """All processes. ``close`` ends them and removes their files.

    Args:
        seed: Of everything random here (what the processes do is random all the same).
        postgres: Keep the store in PostgreSQL instead of SQLite.
        smtp: Options of ``tests.smtp_server``.
        workers: How many workers under test are forked; a test may run its own instead.
        settings: Of the workers, beside those that make nobody wait.
    """

    def __init__(
        self,
        seed: int | str,
        *,
        postgres: bool = False,
        smtp: Sequence[str] = (),
        workers: int = WORKERS,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.random = random.Random(seed)
        self.blows: Counter[str] = Counter()
        """Blows that hit, by point."""
        self._restarting: set[str] = set()
        self._servers: dict[str, ChildServer] = {}
        self._outages = 0
        self._stack = ExitStack()
        try:
            self._build(postgres, smtp, workers, settings or {})
        except BaseException:
            self._stack.close()
            raise

    def _build(
        self,
        postgres: bool,
        smtp: Sequence[str],
        workers: int,
        settings: Mapping[str, object],
    ) -> None:
        enter = self._stack.enter_context
        self.directory = Path(tempfile.mkdtemp(prefix="chaos"))
        self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.directory.chmod(0o755)  # Dovecot's mail user has to get in
        self.control = Control(self.directory / "control")
        self.temporal = enter(DevServer(self.directory / "temporal"))
        self.dovecot = enter(Dovecot(self.directory / "d", TestCA(self.directory / "ca").issue()))
        self.smtp = enter(LedgerServer(self.directory / "smtp", *smtp))
        given = {**_SETTINGS, **settings}
        given["data_dir"] = self.directory / "data"
        given["temporal_address"] = self.temporal.address
        self._servers["temporal"] = self.temporal
        if postgres:
            server = enter(Postgres(self.directory / "pg"))
            given["database_url"] = server.create_database("chaos")
            self._servers["postgres"] = server
        self.settings = Settings.model_validate(given)
        self.store: Store = open_store(self.settings)
        self._stack.callback(self.store.close)
        self.callback_log = self.directory / "callbacks.jsonl"
        enter(
            PythonServer(
                self.directory / "callbacks",
                "callbacks",
                ["tests.chaos.callbacks", self.temporal.address, str(self.callback_log)],
                ready="callbacks ready",
            )
        )
        self.environment = {f"EMAIL_CONNECTOR_{k.upper()}": str(v) for k, v in given.items()}
        environment = self.environment | {"CHAOS_CONTROL": str(self.directory / "control")}
        self.workers = [
            WorkerProcess(f"worker{number}", self.directory, environment)
            for number in range(workers)
        ]
        for worker in self.workers:
            self._stack.callback(worker.close)
            worker.start()

    def close(self) -> None:
        """End everything."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def client(self) -> Client:
        """A client that reads and writes payloads as the workers do."""
        return await connect(self.settings, data_converter(self.store.keys.payloads))

    # --- blows ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def resurrection(self) -> AsyncIterator[None]:
        """Restart workers that died, at once, while the block runs; all run when it ends."""
        over = asyncio.Event()

        async def keep(worker: WorkerProcess) -> None:
            while not over.is_set() or not worker.running:
                if not worker.running:
                    self._restarting.add(worker.name)
                    await self._start(worker)
                    self._restarting.discard(worker.name)
                await asyncio.sleep(_POLL)

        keepers = [asyncio.create_task(keep(worker)) for worker in self.workers]
        try:
            yield
        finally:
            over.set()
            await asyncio.gather(*keepers)

    async def _start(self, worker: WorkerProcess) -> None:
        outages = self._outages
        try:
            await asyncio.to_thread(worker.start)
        except ServerError:
            # It does not start without its servers; whoever runs it starts it again.
            if self._outages == outages and not self._outages % 2:
                raise

    async def restart(self, restart: Restart) -> None:
        """Kill a server, and start it again after a moment on what it has written."""
        server = self._servers[restart.server]
        self._outages += 1  # odd while one is away
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(self.random.uniform(0.2, 2))
        await asyncio.to_thread(server.start)
        self._outages += 1

    async def strike(self, blow: Blow, *, seconds: float) -> Crash | None:
        """Deal a blow; None when nobody came past the point in time.

        A frozen process is left frozen; ``thaw`` wakes it.
        """
        if blow.point is None:
            return await self._strike_anyone(blow.action)
        start = time.time()
        self.control.arm(blow.point, blow.action)
        point = blow.point
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await until(lambda: not self.control.armed(point))
        if self.control.take_back(point):
            return None
        await until(lambda: any(c.point == point for c in self.control.crashes(start)))
        self.blows[point] += 1
        return next(c for c in self.control.crashes(start) if c.point == point)

    async def _strike_anyone(self, action: Action) -> Crash:
        await asyncio.sleep(self.random.uniform(0.05, 1.5))
        await until(lambda: bool(self._alive()))
        victim = self.random.choice(self._alive())
        crash = self.control.note_crash(RANDOM, victim.pid, action)
        with suppress(ProcessLookupError):
            victim.signal(_SIGNALS[action])
        self.blows[RANDOM] += 1
        return crash

    def _alive(self) -> list[WorkerProcess]:
        return [worker for worker in self.workers if worker.name not in self._restarting]

    def thaw(self, crash: Crash) -> None:
        """Wake a frozen process."""
        with suppress(ProcessLookupError):
            os.kill(crash.pid, signal.SIGCONT)
