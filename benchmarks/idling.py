"""``make bench-idle``: hundreds of folders that are listened to, on one worker.

Memory and processor time of the worker while nothing arrives, and how long a new mail takes until
its retrieval has begun. ``--help`` lists what can be asked.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.product import Accounts, Product, product
from models.account import AccountSettings
from models.ids import retrieve_workflow_id
from models.names import WorkflowType
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot

_RAW = b"From: a@example.org\r\nTo: b@example.net\r\nSubject: New\r\n\r\nx\r\n"
_PATIENCE = 600.0
_TICKS = os.sysconf("SC_CLK_TCK")
_SERVER = """
mailbox_idle_check_interval = 1 s
default_client_limit = 4000
default_process_limit = 4000
"""
"""Where the kernel has no more inotify instances, the server looks by itself; here every second."""


async def run(folder: Path, folders: int, mails: int, seconds: float) -> dict[str, Any]:
    """Measure; returns the figures."""
    load = os.getloadavg()[0]
    ca = TestCA(folder / "ca")
    with Dovecot(folder / "dovecot", ca.issue(), extra=_SERVER) as server:
        accounts: Accounts = {
            f"a{number}": (_account(server, number), server.password) for number in range(folders)
        }
        for number in range(folders):
            server.create_folder(_user(number), "Done")
        variables = {"EMAIL_CONNECTOR_CA_FILE": str(ca.ca_file)}
        started = time.monotonic()
        async with product(folder, accounts, variables=variables) as running:
            await _until(lambda: _all_listen(running, folders), "all are listened to")
            begun = time.monotonic() - started
            await asyncio.sleep(10)
            before, moment = _processor_seconds(running), time.monotonic()
            await asyncio.sleep(seconds)
            share = (_processor_seconds(running) - before) / (time.monotonic() - moment)
            rss = running.rss_mb()
            latencies = sorted(await _noticed(running, server, folders, mails))
            return {
                "folders": folders,
                "rss_mb": round(rss, 1),
                "peak_rss_mb": round(running.peak_rss_mb(), 1),
                "cpu_share": round(share, 4),
                "noticed_p50_seconds": _share(latencies, 0.5),
                "noticed_p95_seconds": _share(latencies, 0.95),
                "noticed_max_seconds": round(latencies[-1], 3),
                "mails": len(latencies),
                "all_listened_after_seconds": round(begun, 1),
                "measured_seconds": seconds,
                "load_before": round(load, 2),
            }


def _user(number: int) -> str:
    return f"user{number}@example.net"


def _account(server: Dovecot, number: int) -> AccountSettings:
    return AccountSettings.model_validate(
        {
            "name": f"account {number}",
            "email_address": _user(number),
            "incoming": {
                "host": server.host,
                "port": server.imaps_port,
                "username": _user(number),
            },
            "retrieval": {"subscribe": True},
        }
    )


async def _all_listen(running: Product, folders: int) -> bool:
    done = f"WorkflowType = '{WorkflowType.RETRIEVE_EMAIL_MESSAGES.value}' AND "
    done += "ExecutionStatus = 'Completed'"
    return (await running.client.count_workflows(done)).count >= folders


async def _noticed(running: Product, server: Dovecot, folders: int, mails: int) -> list[float]:
    """Deliver mails one after the other; returns the seconds until each was being retrieved."""
    chosen = random.Random(7).sample(range(folders), mails)  # noqa: S311 - the same in every run
    delivered: dict[str, datetime] = {}
    first = datetime.now(UTC)
    for number in chosen:
        delivered[retrieve_workflow_id(f"a{number}", "INBOX")] = datetime.now(UTC)
        server.deliver(_user(number), _RAW)
        # Apart: this is about noticing, not about how many retrievals a machine does at once.
        await asyncio.sleep(1)
    wanted = (
        f"WorkflowType = '{WorkflowType.RETRIEVE_EMAIL_MESSAGES.value}' AND "
        f"StartTime >= '{first.isoformat()}'"
    )
    found: dict[str, float] = {}

    async def all_found() -> bool:
        async for run in running.client.list_workflows(wanted):
            if run.id in delivered:
                seconds = (run.start_time - delivered[run.id]).total_seconds()
                if seconds >= 0:
                    found[run.id] = min(seconds, found.get(run.id, seconds))
        return len(found) == len(delivered)

    await _until(all_found, "all mails are noticed")
    return list(found.values())


async def _until(answer: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not await answer():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        await asyncio.sleep(1)


def _processor_seconds(running: Product) -> float:
    # After the name, which is in parentheses: state is the first field, utime and stime follow.
    fields = Path(f"/proc/{running.worker_pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _share(values: list[float], share: float) -> float:
    return round(values[min(len(values) - 1, int(len(values) * share))], 3)


def main() -> None:
    """Measure and write ``benchmarks/results/subscriptions.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idling", description=__doc__)
    parser.add_argument("--folders", type=int, default=500)
    parser.add_argument("--mails", type=int, default=60, help="new ones, each in another folder")
    parser.add_argument("--seconds", type=float, default=120, help="of idling that are measured")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ec-", dir="/tmp"))
    folder.chmod(0o755)
    figures = asyncio.run(run(folder, options.folders, options.mails, options.seconds))
    path = results.write("subscriptions", figures)
    sys.stderr.write(f"written to {path}\n")


if __name__ == "__main__":
    main()
