"""Cases of ``DeliverWebhook``, alone and as a callback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from temporalio.client import WorkflowFailureError

from models.names import WorkflowType
from tools.histories.stage import Run, Stage, case
from tools.servers.process import LOOPBACK

DELIVER = WorkflowType.DELIVER_WEBHOOK
SILENT = 0


class Receiver:
    """Answers requests with these statuses, the last one again and again; 0: not at all."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = list(statuses)
        self.port = 0
        self.called = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(
            int(line.split(b":")[1])
            for line in head.lower().splitlines()
            if line.startswith(b"content-length:")
        )
        await reader.readexactly(size)
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        self.called.set()
        if status == SILENT:
            await reader.read()
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    def callback(self, **changes: Any) -> dict[str, Any]:
        """A callback that is posted here."""
        url = f"http://{LOOPBACK}:{self.port}/"
        return {"webhook": url, "retry_interval_seconds": 0.1, "max_attempts": 2, **changes}

    def event(self, **changes: Any) -> dict[str, Any]:
        """An event that is posted here."""
        return {**self.callback(), "type": "order.created", "data": {"order": 1}, **changes}


@asynccontextmanager
async def receiver(*statuses: int) -> AsyncIterator[Receiver]:
    """A receiver on loopback."""
    made = Receiver(*statuses)
    async with await asyncio.start_server(made.serve, LOOPBACK, 0) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield made


for _name, _statuses in {"delivered": (503, 204), "dead": (500,), "refused": (410,)}.items():

    @case(f"DeliverWebhook/{_name}")
    async def _deliver(stage: Stage, statuses: tuple[int, ...] = _statuses) -> Run:
        async with receiver(*statuses) as there:
            return await stage.end(DELIVER, there.event())


@case("DeliverWebhook/same_key")
async def _same_key(stage: Stage) -> Run:
    async with receiver(204) as there:
        await stage.end(DELIVER, there.event(idempotency_key="k"))
        return await stage.end(DELIVER, there.event(idempotency_key="k"))


@case("DeliverWebhook/redelivered")
async def _redelivered(stage: Stage) -> Run:
    async with receiver(204) as there:
        first = await (await stage.end(DELIVER, there.event())).result()
        return await stage.end(DELIVER, there.callback(redeliver=first["webhook_id"]))


@case("DeliverWebhook/worker_stopped")
async def _worker_stopped(stage: Stage) -> Run:
    async with receiver(SILENT, 204) as there:
        handle = await stage.start(DELIVER, there.event())
        await there.called.wait()
        await stage.replace_worker()
        await handle.result()
        return handle


@case("DeliverWebhook/cancelled")
async def _cancelled(stage: Stage) -> Run:
    async with receiver(SILENT) as there:
        handle = await stage.start(DELIVER, there.event())
        await there.called.wait()
        await handle.cancel()
        with suppress(WorkflowFailureError):
            await handle.result()
        return handle


for _name, _statuses in {"webhook_callbacks": (204,), "webhook_dead": (410, 204)}.items():

    @case(f"RetrieveEmailMessages/{_name}")
    async def _retrieve(stage: Stage, statuses: tuple[int, ...] = _statuses) -> Run:
        async with receiver(*statuses) as there:
            callback = there.callback()
            request = {
                "account": stage.mailbox(2),
                "batch_size": 1,
                "on_email_fetch": callback,
                "on_fetch_complete": callback,
                "on_fetch_error": callback,
            }
            return await stage.end(WorkflowType.RETRIEVE_EMAIL_MESSAGES, request)
