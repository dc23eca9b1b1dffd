"""The queue's writes in groups, when somebody is cancelled, gone or deleted meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from activities.crypto.keyring import load_keyring
from activities.crypto.secretbox import SecretBox
from activities.store import queue_ledger
from activities.store.accounts import Accounts
from activities.store.committer import Committer
from activities.store.engine import Database
from activities.store.queue import QueuedMail
from activities.store.queue_journal import QueueJournal
from activities.store.queue_ledger import Outcome, Recorded
from activities.transmitting.batches import Batches
from models.delivery import MessageStatus, Phase
from models.settings import Settings
from tests.unit.store_kit import account_id, database
from tests.unit.test_queue import ACCEPTED, LATER, MINUTE, Queue

__all__ = ["account_id", "database"]


@pytest.fixture
def line(database: Database, account_id: str) -> Queue:
    return Queue(database, account_id)


@pytest.fixture
def committer(database: Database) -> Iterator[Committer]:
    opened = Committer(database)
    yield opened
    opened.close()


@pytest.fixture
def journal(database: Database) -> Iterator[QueueJournal]:
    opened = QueueJournal(database)
    yield opened
    opened.close()


@contextmanager
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let nothing be recorded while the block runs."""
    free, record = threading.Event(), queue_ledger.record

    def wait(*arguments: Any) -> Recorded:
        free.wait(30)
        return record(*arguments)

    monkeypatch.setattr(queue_ledger, "record", wait)
    try:
        yield
    finally:
        free.set()


def not_sent(line: Queue, mail: QueuedMail) -> Outcome:
    return line.outcome(
        mail, LATER, phase=Phase.BODY, intended=False, next_attempt_at=line.now + MINUTE
    )


async def asked(batches: Batches, mail: QueuedMail) -> asyncio.Task[None]:
    """Somebody who waits for an intent to be committed."""
    batches.begin(mail)
    task = asyncio.create_task(batches.intend(mail, list(mail.recipients)))
    await asyncio.sleep(0.05)
    return task


async def test_who_does_not_wait_for_an_intent_has_sent_nothing(
    line: Queue, committer: Committer, journal: QueueJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One intent is being committed, the other one still waits for that."""
    for _ in range(2):
        line.put()
    mails = line.lease()
    batches = Batches(committer, journal)
    async with batches.writing():
        with busy(monkeypatch):
            for task in [await asked(batches, mail) for mail in mails]:
                task.cancel()
            await asyncio.sleep(0.05)
            for mail in mails:
                batches.end(not_sent(line, mail))
    for mail in mails:
        assert line.attempts(mail.delivery_id) == ["not_sent"]
        row = line.row(mail.delivery_id)
        assert (row.state, row.attempts) == (MessageStatus.QUEUED, 1)
    assert line.lease(after=2 * MINUTE) != []


async def test_an_intent_whose_commit_was_not_heard_of(
    line: Queue, committer: Committer, journal: QueueJournal
) -> None:
    """The database lost the connection after the commit: it stands, and nothing was sent."""
    line.put()
    (mail,) = line.lease()
    line.intend(mail)
    batches = Batches(committer, journal)
    async with batches.writing():
        batches.end(not_sent(line, mail))
    assert line.attempts(mail.delivery_id) == ["not_sent"]
    assert line.row(mail.delivery_id).state == MessageStatus.QUEUED


@pytest.mark.parametrize("intended", [False, True])
async def test_a_mail_that_was_deleted_is_nobody_s_outcome(
    line: Queue, committer: Committer, journal: QueueJournal, tmp_path: Path, intended: bool
) -> None:
    line.put()
    (mail,) = line.lease()
    batches = Batches(committer, journal)
    async with asyncio.timeout(10), batches.writing():
        if intended:
            await (await asked(batches, mail))
        with line.database.write() as session:
            box = SecretBox(load_keyring(Settings(data_dir=tmp_path)).secrets)
            Accounts(box).delete(session, line.account_id)
        if not intended:
            with pytest.raises(Exception, match="taken this delivery over"):
                await (await asked(batches, mail))
        batches.end(line.outcome(mail, ACCEPTED))
