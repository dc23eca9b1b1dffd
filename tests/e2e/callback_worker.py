"""A consumer's worker, in a process of its own and with nothing of ours but, if asked, the key.

    python -m tests.e2e.callback_worker ADDRESS NAMESPACE QUEUE [DATA_DIR]

With DATA_DIR it reads the connector's payload key there and uses its converter.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from temporalio import workflow
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker


@workflow.defn(name="Take")
class Take:
    """Takes what it is given, and gives it back for the test to look at."""

    @workflow.run
    async def run(self, event: dict[str, Any]) -> dict[str, Any]:
        return event


@workflow.defn(name="Refuse")
class Refuse:
    """Fails."""

    @workflow.run
    async def run(self, event: dict[str, Any]) -> None:
        raise ApplicationError("no", type="Refused")


@workflow.defn(name="RefuseOnce")
class RefuseOnce:
    """Fails at its first attempt."""

    @workflow.run
    async def run(self, event: dict[str, Any]) -> int:
        if workflow.info().attempt == 1:
            raise ApplicationError("not yet", type="Refused")
        return workflow.info().attempt


@workflow.defn(name="RefuseSecondBatch")
class RefuseSecondBatch:
    """Fails for every batch that does not hold the mail with UID 1."""

    @workflow.run
    async def run(self, event: dict[str, Any]) -> None:
        if all(mail["uid"] != 1 for mail in event["messages"]):
            raise ApplicationError("no", type="Refused")


@workflow.defn(name="Hang")
class Hang:
    """Never ends by itself."""

    @workflow.run
    async def run(self, event: dict[str, Any]) -> None:
        await workflow.wait_condition(lambda: False)


@workflow.defn(name="HoldFirstBatch")
class HoldFirstBatch:
    """Waits for the signal ``release`` with the batch that holds the mail with UID 1."""

    def __init__(self) -> None:
        self._released = False

    @workflow.signal
    def release(self) -> None:
        self._released = True

    @workflow.run
    async def run(self, event: dict[str, Any]) -> None:
        first = any(mail["uid"] == 1 for mail in event["messages"])
        await workflow.wait_condition(lambda: self._released or not first)


async def main(address: str, namespace: str, queue: str, data_dir: str | None = None) -> None:
    converter = DataConverter.default
    if data_dir is not None:
        from activities.crypto.keyring import load_keyring
        from models.settings import Settings
        from models.wire import data_converter

        converter = data_converter(load_keyring(Settings(data_dir=Path(data_dir))).payloads)
    client = await Client.connect(address, namespace=namespace, data_converter=converter)
    async with Worker(
        client,
        task_queue=queue,
        workflows=[Take, Refuse, RefuseOnce, RefuseSecondBatch, Hang, HoldFirstBatch],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
