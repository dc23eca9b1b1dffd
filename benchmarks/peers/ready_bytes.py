"""``python -m benchmarks.peers.ready_bytes PORT MAILS CONNECTIONS``: aiosmtplib and nothing else.

One mail, made once, is sent again and again over kept connections; nothing is written down.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator

import aiosmtplib

from benchmarks import letter


async def send(port: int, mails: int, connections: int) -> float:
    """Seconds from the first connection to the last reply."""
    raw = letter.ready(0)
    numbers = iter(range(mails))

    async def connection(numbers: Iterator[int]) -> None:
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False)
        async with client:
            for number in numbers:
                await client.sendmail(letter.SENDER, [letter.recipient(number)], raw)

    started = time.perf_counter()
    await asyncio.gather(*(connection(numbers) for _ in range(connections)))
    return time.perf_counter() - started


if __name__ == "__main__":
    asked = [int(argument) for argument in sys.argv[1:]]
    sys.stdout.write(json.dumps({"seconds": asyncio.run(send(*asked))}) + "\n")
