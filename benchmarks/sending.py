"""Interactive sends beside plain aiosmtplib: one mail, one workflow, one connection."""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from email.message import EmailMessage as StandardMessage

import aiosmtplib

from benchmarks.product import Product
from models.names import TaskQueue, WorkflowType
from tools.servers.smtp_sink import SmtpSink

HTML = "<html><body>" + "<p>Your order is on its way.</p>" * 60 + "</body></html>"
TEXT = "Your order is on its way.\n" * 30


async def interactive(
    product: Product, sink: SmtpSink, mails: int, at_once: int
) -> dict[str, float]:
    """Start ``mails`` SendEmail workflows, ``at_once`` in flight, and wait for all results."""
    gate = asyncio.Semaphore(at_once)
    before = sink.count()

    async def one(number: int) -> float:
        async with gate:
            started = time.perf_counter()
            result = await product.client.execute_workflow(
                WorkflowType.SEND_EMAIL,
                {
                    "account": "sender",
                    "message": {
                        "to": f"reader{number}@example.net",
                        "subject": f"Your order {number}",
                        "content": HTML,
                        "plain_body": TEXT,
                    },
                },
                id=f"send/{uuid.uuid4()}",
                task_queue=TaskQueue.ORCHESTRATION,
                result_type=dict,
            )
            if result["status"] != "sent":
                raise RuntimeError(f"a mail was not sent: {result['status']}")
            return time.perf_counter() - started

    started = time.perf_counter()
    latencies = sorted(await asyncio.gather(*(one(n) for n in range(mails))))
    seconds = time.perf_counter() - started
    sink.wait_for(before + mails)
    return {
        "per_second": mails / seconds,
        "p50_ms": statistics.median(latencies) * 1000,
        "p95_ms": latencies[int(len(latencies) * 0.95) - 1] * 1000,
    }


async def aiosmtplib_plain(sink: SmtpSink, mails: int, at_once: int) -> dict[str, float]:
    """Build each mail and send it on a connection of its own, nothing recorded anywhere."""
    gate = asyncio.Semaphore(at_once)

    async def one(number: int) -> float:
        async with gate:
            started = time.perf_counter()
            mail = StandardMessage()
            mail["From"], mail["To"] = "shop@example.org", f"reader{number}@example.net"
            mail["Subject"] = f"Your order {number}"
            mail.set_content(TEXT)
            mail.add_alternative(HTML, subtype="html")
            await aiosmtplib.send(mail, hostname=sink.host, port=sink.port, start_tls=False)
            return time.perf_counter() - started

    started = time.perf_counter()
    latencies = sorted(await asyncio.gather(*(one(n) for n in range(mails))))
    return {
        "per_second": mails / (time.perf_counter() - started),
        "p50_ms": statistics.median(latencies) * 1000,
        "p95_ms": latencies[int(len(latencies) * 0.95) - 1] * 1000,
    }
