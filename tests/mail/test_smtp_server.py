"""The test server as a process of its own: what kill tests rely on."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

from tests.mail.smtp_kit import MAIL, RCPT, SENDER, deliver, endpoint, failure_of

ROOT = Path(__file__).parents[2]


async def start(*arguments: str) -> tuple[asyncio.subprocess.Process, int]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.smtp_server", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    return process, int(await process.stdout.readline())


async def test_ledger_survives_a_kill_and_grows_over_restarts(tmp_path):
    ledger = tmp_path / "ledger.jsonl"
    for round_ in (1, 2):
        pipelining = ["--pipelining"] * (round_ - 1)
        process, port = await start("--ledger", str(ledger), "--delay-ms", "1:5", *pipelining)
        before = time.time()
        patient = endpoint(port, timeout=timedelta(seconds=10))
        await asyncio.gather(*(deliver(patient) for _ in range(3)))
        process.kill()
        assert await process.wait() == -signal.SIGKILL
        lines = [json.loads(line) for line in ledger.read_text().splitlines()]
        assert len(lines) == 3 * round_
        assert lines[-1].pop("time") >= before
        assert lines[-1] == {
            "message_id": "<1@test.example>",
            "sha256": hashlib.sha256(MAIL).hexdigest(),
            "rcpts": [RCPT],
            "sender": SENDER,
        }


async def test_options_and_a_clean_end(tmp_path):
    process, port = await start(
        *("--fault", "mail:4xx:1.0", "--recipient", f"{RCPT}=550", "--auth", "a:b"),
        *("--ledger", str(tmp_path / "ledger")),
    )
    failure = await failure_of(endpoint(port, timeout=timedelta(seconds=10)))
    assert failure.reply is not None
    assert failure.reply.code == 451
    process.terminate()
    assert await process.wait() == 0
    assert (tmp_path / "ledger").read_text() == ""
