"""Replication beside mbsync (which only copies) and a raw fetch (which keeps nothing)."""

from __future__ import annotations

import asyncio
import random
import subprocess
import time
import uuid
from pathlib import Path

from imapclient import IMAPClient

from benchmarks.product import CALLBACK_QUEUE, Product
from models.names import TaskQueue, WorkflowType
from tools.servers.dovecot import Dovecot

_WORDS = ("order", "invoice", "delivery", "meeting", "report", "house", "garden", "winter")


def fill(dovecot: Dovecot, user: str, mails: int, size: int) -> int:
    """Put ``mails`` mails of about ``size`` bytes into a mailbox; returns bytes in all."""
    rng = random.Random(7)  # noqa: S311 - the same mails in every run
    total = 0
    for number in range(mails):
        raw = _mail(rng, number, size)
        dovecot.deliver(user, raw)
        total += len(raw)
    return total


def _mail(rng: random.Random, number: int, size: int) -> bytes:
    paragraph = " ".join(rng.choices(_WORDS, k=40))
    html = "".join(f"<p style='color:#333'>{paragraph}</p>" for _ in range(6))
    body = f"{paragraph}\r\n"
    filler = "\r\n".join(f"{rng.getrandbits(240):060x}" for _ in range(max(0, size - 3000) // 62))
    return (
        f"From: Shop <shop{number % 97}@example.org>\r\nTo: reader@example.net\r\n"
        f"Subject: Your order {number}\r\nMessage-ID: <{number}@bench.example>\r\n"
        "Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/mixed; boundary="outer"\r\n\r\n--outer\r\n'
        'Content-Type: multipart/alternative; boundary="inner"\r\n\r\n'
        f"--inner\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n"
        f"--inner\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n--inner--\r\n"
        '--outer\r\nContent-Type: text/plain; name="data.txt"\r\n'
        f'Content-Disposition: attachment; filename="data.txt"\r\n\r\n{filler}\r\n--outer--\r\n'
    ).encode()


async def replicate(product: Product, account: str, consumer: str) -> tuple[int, float]:
    """Replicate everything with a callback; returns mails and seconds."""
    started = time.perf_counter()
    result = await product.client.execute_workflow(
        WorkflowType.RETRIEVE_EMAIL_MESSAGES,
        {
            "account": account,
            "replicate_everything": True,
            "consumer": consumer,
            "on_email_fetch": {"workflow": "TakeBatch", "task_queue": CALLBACK_QUEUE},
        },
        id=f"retrieve/{uuid.uuid4()}",
        task_queue=TaskQueue.ORCHESTRATION,
        result_type=dict,
    )
    return int(result["retrieved"]), time.perf_counter() - started


def mbsync(dovecot: Dovecot, user: str, folder: Path) -> float:
    """Copy what is new in the mailbox with mbsync at its defaults (fsync on); returns seconds."""
    inbox = folder / "mail" / "INBOX"
    for name in ("cur", "new", "tmp"):
        (inbox / name).mkdir(parents=True, exist_ok=True)
    configuration = folder / "mbsyncrc"
    configuration.write_text(
        f"IMAPAccount a\nHost 127.0.0.1\nPort {dovecot.imap_port}\nUser {user}\n"
        f"Pass {dovecot.password}\nSSLType None\nAuthMechs LOGIN\n\nIMAPStore r\nAccount a\n\n"
        f"MaildirStore l\nPath {folder}/mail/\nInbox {inbox}\n\nChannel c\nFar :r:\nNear :l:\n"
        "Patterns INBOX\nCreate Near\nSync Pull\nSyncState *\n"
    )
    started = time.perf_counter()
    subprocess.run(["mbsync", "-c", str(configuration), "-a"], check=True, capture_output=True)
    return time.perf_counter() - started


def raw_fetch(dovecot: Dovecot, user: str) -> float:
    """Fetch all mails with IMAPClient in batches of 100 and drop them; returns seconds."""
    started = time.perf_counter()
    with IMAPClient("127.0.0.1", dovecot.imap_port, ssl=False) as client:
        client.login(user, dovecot.password)
        client.select_folder("INBOX", readonly=True)
        uids = client.search("ALL")
        for start in range(0, len(uids), 100):
            client.fetch(uids[start : start + 100], ["BODY.PEEK[]"])
    return time.perf_counter() - started


async def off_loop(work: object, *arguments: object) -> float:
    """Run blocking ``work`` beside the event loop, whose callback worker must go on."""
    return float(await asyncio.get_running_loop().run_in_executor(None, work, *arguments))  # type: ignore[arg-type]
