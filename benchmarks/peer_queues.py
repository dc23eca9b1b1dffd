"""The peers' queues, each over the sink that ours sends to: mails a second."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from benchmarks.delaying_sink import DelayingSink
from benchmarks.peers import environment
from tools.servers.redis import Redis
from tools.servers.smtp_sink import SmtpSink

_BEST_THREADS = {"sqlite": 5, "postgresql": 10}
"""What django-post_office was fastest with, in a search over batches, threads and processes."""
_LIMIT_SECONDS = 300


async def ready_bytes(sink: SmtpSink | DelayingSink, mails: int, connections: int) -> float:
    """Aiosmtplib sending ready bytes over kept connections."""
    before = sink.count()
    arguments = (sink.port, mails, connections)
    answer = await environment.answer("ready_bytes", *arguments, extra={})
    await asyncio.to_thread(sink.wait_for, before + mails)
    return mails / float(answer["seconds"])


@dataclass(frozen=True)
class PostOffice:
    """django-post_office on a database (a SQLAlchemy URL of PostgreSQL, or None for SQLite)."""

    folder: Path
    database_url: str | None

    async def best(self, sink: SmtpSink, mails: int) -> float:
        """A batch of 2,000, two processes, nothing logged in its table."""
        threads = _BEST_THREADS["postgresql" if self.database_url else "sqlite"]
        options = {"BATCH_SIZE": 2000, "THREADS_PER_PROCESS": threads}
        return await self._run(sink, mails, options, processes=2, log_level=0)

    async def default(self, sink: SmtpSink, mails: int) -> float:
        """As it is installed: a batch of 100, five threads, one process, everything logged."""
        return await self._run(sink, mails, {}, processes=1, log_level=2)

    async def _run(
        self,
        sink: SmtpSink,
        mails: int,
        options: dict[str, int],
        *,
        processes: int,
        log_level: int,
    ) -> float:
        extra = {
            "PEER_DATABASE": json.dumps(self._database()),
            "PEER_SMTP_PORT": str(sink.port),
            "PEER_POST_OFFICE": json.dumps(options),
        }
        filled = await environment.answer("post_office_queue", "fill", mails, extra=extra)
        before = sink.count()
        lock = self.folder / "post_office_lock"
        arguments = ("drain", processes, log_level, lock)
        answer = await environment.answer("post_office_queue", *arguments, extra=extra)
        _check("django-post_office", mails, int(filled["queued"]), int(answer["sent"]))
        await asyncio.to_thread(sink.wait_for, before + mails)
        return mails / float(answer["seconds"])

    def _database(self) -> dict[str, Any]:
        if self.database_url is None:
            file = str(self.folder / "post_office.sqlite3")
            return {"ENGINE": "django.db.backends.sqlite3", "NAME": file}
        url = make_url(self.database_url)
        return {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": url.host,
            "PORT": url.port,
            "USER": url.username,
            "NAME": url.database,
        }


async def celery(folder: Path, sink: SmtpSink, mails: int, processes: int) -> float:
    """Celery over Redis at its defaults; from the first mail to the last one."""
    with Redis(folder) as redis:
        extra = {"PEER_REDIS_PORT": str(redis.port), "PEER_SMTP_PORT": str(sink.port)}
        filled = await environment.answer("celery_queue", mails, extra=extra)
        _check("celery", mails, int(filled["queued"]))
        before = sink.count()
        with redis.log.with_name("celery.log").open("ab") as log:
            worker = await asyncio.create_subprocess_exec(
                str(environment.python()),
                *("-m", "celery", "-A", "benchmarks.peers.celery_queue", "worker"),
                *("--pool", "prefork", "--concurrency", str(processes), "--loglevel", "INFO"),
                cwd=redis.directory,
                env=environment.variables(extra),
                stdout=log,
                stderr=log,
            )
        try:
            began = await asyncio.to_thread(sink.wait_for, before + 1)
            there = sink.count() - before
            ended = await asyncio.to_thread(sink.wait_for, before + mails, _LIMIT_SECONDS)
        finally:
            worker.terminate()
            await _gone(worker)
    return (mails - there) / (ended - began)


async def _gone(worker: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(worker.wait(), 20)
    except TimeoutError:
        worker.kill()
        await worker.wait()


def _check(peer: str, mails: int, *counted: int) -> None:
    if any(count != mails for count in counted):
        raise RuntimeError(f"{peer}: {counted} of {mails} mails")
