"""The product as a user runs it: Temporal's server on disk, and the worker as a process."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

from activities.store.accounts import Secrets
from activities.store.assembly import open_store
from models.account import AccountSettings
from models.connection import connect
from models.settings import Settings
from models.wire import data_converter
from tools.temporal import DevServer

_ROOT = Path(__file__).parents[1]
CALLBACK_QUEUE = "benchmark-callbacks"
Accounts = dict[str, tuple[AccountSettings, str | None]]
"""Settings and password by id."""


@workflow.defn(name="TakeBatch", sandboxed=False)
class TakeBatch:
    """A callback that takes its batch over and does nothing with it."""

    @workflow.run
    async def run(self, batch: dict[str, object]) -> None:
        """Acknowledge."""


@dataclass(frozen=True)
class Product:
    """A running product.

    Attributes:
        client: Speaks its payload format.
        worker_pid: The worker's process.
        settings: Where its store and its Temporal are.
    """

    client: Client
    worker_pid: int
    settings: Settings

    def peak_rss_mb(self) -> float:
        """Largest resident memory of the worker so far, in MB."""
        return self._memory("VmHWM")

    def rss_mb(self) -> float:
        """Resident memory of the worker now, in MB."""
        return self._memory("VmRSS")

    def _memory(self, name: str) -> float:
        status = Path(f"/proc/{self.worker_pid}/status").read_text()
        line = next(row for row in status.splitlines() if row.startswith(name))
        return int(line.split()[1]) / 1024


@asynccontextmanager
async def product(
    folder: Path,
    accounts: Accounts,
    *,
    database_url: str | None = None,
    variables: dict[str, str] | None = None,
) -> AsyncIterator[Product]:
    """Run Temporal and one worker with these accounts (settings and password by id).

    Args:
        folder: Where everything is.
        accounts: Those it has.
        database_url: The worker's database, if not SQLite.
        variables: Further settings of the worker, as its environment has them.
    """
    with DevServer(folder / "temporal") as server:
        settings = Settings(
            data_dir=folder / "data", temporal_address=server.address, database_url=database_url
        )
        store = open_store(settings)
        with store.database.write() as session:
            for account_id, (account, password) in accounts.items():
                secret = SecretStr(password) if password else None
                store.accounts.add(session, account_id, account, Secrets(secret, secret))
        store.close()
        environment = {
            **os.environ,
            "EMAIL_CONNECTOR_DATA_DIR": str(settings.data_dir),
            "EMAIL_CONNECTOR_TEMPORAL_ADDRESS": server.address,
            **({"EMAIL_CONNECTOR_DATABASE_URL": database_url} if database_url else {}),
            **(variables or {}),
        }
        log = folder / "worker.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "worker.py",
                cwd=_ROOT,
                env=environment,
                stdout=output,
                stderr=output,
            )
        try:
            await _ready(log, process)
            client = await connect(settings, data_converter(store.keys.payloads))
            async with Worker(client, task_queue=CALLBACK_QUEUE, workflows=[TakeBatch]):
                yield Product(client, process.pid, settings)
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), timeout=30)


async def _ready(log: Path, process: asyncio.subprocess.Process) -> None:
    deadline = time.monotonic() + 60
    while "worker ready" not in (written := _text(log)):
        if process.returncode is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the worker did not start: {written[-2000:]}")
        await asyncio.sleep(0.1)


def _text(path: Path) -> str:
    return path.read_text()
