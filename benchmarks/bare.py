"""The least that a workflow with a step can be: one activity, which does nothing.

``python -m benchmarks.bare ADDRESS`` is its worker, a process of its own like the product's.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

_QUEUE = "benchmark-bare"
_ROOT = Path(__file__).parents[1]


@activity.defn
async def do_nothing(text: str) -> str:
    """Return what it is given."""
    return text


@workflow.defn
class BareWorkflow:
    """One activity."""

    @workflow.run
    async def run(self, text: str) -> str:
        """Have it done."""
        patience = timedelta(seconds=60)
        return await workflow.execute_activity(do_nothing, text, start_to_close_timeout=patience)


async def latencies(client: Client, count: int) -> tuple[float, float]:
    """Median and 95th percentile, in milliseconds, of ``count`` runs one after the other."""
    taken = []
    for _ in range(count):
        started = time.perf_counter()
        await client.execute_workflow(
            BareWorkflow.run, "x" * 100, id=f"bare/{uuid.uuid4()}", task_queue=_QUEUE
        )
        taken.append((time.perf_counter() - started) * 1000)
    taken.sort()
    return statistics.median(taken), taken[int(count * 0.95) - 1]


@asynccontextmanager
async def bare_worker(address: str) -> AsyncIterator[Client]:
    """Run the worker; gives a client for it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.bare", address, cwd=_ROOT
    )
    try:
        client = await Client.connect(address)
        await asyncio.wait_for(latencies(client, 20), 60)
        yield client
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)


async def _work(address: str) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    client = await Client.connect(address)
    worker = Worker(client, task_queue=_QUEUE, workflows=[BareWorkflow], activities=[do_nothing])
    async with worker:
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1]))
