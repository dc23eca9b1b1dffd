"""A consumer of another team: its own process, Temporal's default converter, none of our code.

    python -m starter.embedded.callback_worker --address HOST:PORT

Its workflow is what a caller names in ``on_email_fetch``. It takes one JSON object and is
acknowledged by completing; with ``payloads: plain`` it needs neither our models nor our key.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from typing import Any

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

QUEUE = "demo-callbacks"
WORKFLOW = "DemoMailArrived"
READY = "callback worker ready"


@workflow.defn(name=WORKFLOW)
class DemoMailArrivedWorkflow:
    """Takes a batch of mails and says how many it took."""

    @workflow.run
    async def run(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take the batch."""
        return {"batch_id": batch["batch_id"], "accepted": [m["id"] for m in batch["messages"]]}


async def serve(address: str) -> None:
    """Work until SIGTERM or SIGINT."""
    client = await Client.connect(address)
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with Worker(client, task_queue=QUEUE, workflows=[DemoMailArrivedWorkflow]):
        sys.stdout.write(f"{READY}\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> None:
    """Read the arguments and work."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--address", required=True)
    asyncio.run(serve(parser.parse_args().address))


if __name__ == "__main__":
    main()
