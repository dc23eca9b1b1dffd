"""A caller's own worker, with the SDK's default converter: writes down what it is called with.

As a process: ``python -m tests.chaos.callbacks ADDRESS LOG``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

QUEUE, TYPE = "chaos-callbacks", "TakeBatch"
_FAILING_SHARE = 8
"""One batch in so many fails when it comes for the first time."""


@dataclass(frozen=True)
class Delivered:
    """Mails that one run of the callback was given."""

    at: float
    run_id: str
    workflow_id: str
    batch_id: str
    messages: list[str]


def delivered(log: Path) -> list[Delivered]:
    """Read the log."""
    text = log.read_text() if log.exists() else ""
    return [Delivered(**json.loads(line)) for line in text.splitlines()]


class _Log:
    def __init__(self, path: Path) -> None:
        self._path = path

    @activity.defn(name="record_batch")
    def record(self, batch: dict[str, Any]) -> None:
        info = activity.info()
        entry = {
            "at": time.time(),
            "run_id": info.workflow_run_id,
            "workflow_id": info.workflow_id,
            "batch_id": batch["batch_id"],
            "messages": [message["id"] for message in batch["messages"]],
        }
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())


@workflow.defn(name=TYPE, sandboxed=False)
class TakeBatch:
    @workflow.run
    async def run(self, batch: dict[str, Any]) -> int:
        await workflow.execute_activity(
            "record_batch", batch, start_to_close_timeout=timedelta(seconds=20)
        )
        unlucky = zlib.crc32(batch["batch_id"].encode()) % _FAILING_SHARE == 0
        if unlucky and workflow.info().attempt == 1:
            raise ApplicationError("not today")
        return len(batch["messages"])


async def _main(address: str, log: Path) -> None:
    client = await Client.connect(address)
    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=[TakeBatch],
        activities=[_Log(log).record],
        activity_executor=ThreadPoolExecutor(4),
        max_concurrent_activities=4,
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    async with worker:
        sys.stdout.write("callbacks ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], Path(sys.argv[2])))
