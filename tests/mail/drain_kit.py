"""A worker's drain over a store and a pool, without Temporal around it."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlmodel import col, select, update

from activities.crypto.keyring import load_keyring
from activities.crypto.secretbox import SecretBox
from activities.limits import SendingLimits
from activities.mail.smtp import SmtpClient
from activities.mail.smtp_pool import SmtpPool
from activities.slow_downs import SlowDowns
from activities.store.accounts import Accounts, Secrets
from activities.store.aside import Aside
from activities.store.committer import Committer
from activities.store.content import ContentStore
from activities.store.engine import Database
from activities.store.local_blobs import LocalBlobs
from activities.store.queue_journal import QueueJournal
from activities.store.readers import Readers
from activities.transmitting.drainer import Drainer
from models.account import AccountSettings
from models.settings import Settings
from models.tables import AccountRow, Attempt, Delivery
from tests.unit.store_kit import queued

MINUTE = timedelta(minutes=1)


@dataclass
class Drain:
    """What a worker has that drains the queue, and accounts with mail in it."""

    database: Database
    drainer: Drainer
    accounts: Accounts
    committer: Committer

    def account(self, port: int, password: str | None = None, **settings: Any) -> str:
        """Add an account that sends to ``port``; returns its id."""
        account_id = str(uuid.uuid4())
        login = {"login": "basic", "username": "u"} if password else {"login": "none"}
        outgoing = {"host": "127.0.0.1", "port": port, "security": "none"} | login
        given = {"name": account_id, "email_address": "a@example.org", "outgoing": outgoing}
        secrets = Secrets(outgoing=SecretStr(password) if password else None)
        with self.database.write() as session:
            parsed = AccountSettings.model_validate(given | settings)
            self.accounts.add(session, account_id, parsed, secrets)
        return account_id

    def put(self, account_id: str, count: int = 1, **values: Any) -> list[str]:
        """Queue mails; returns their deliveries."""
        ids = [queued(self.database, account_id, ["r@example.net"]) for _ in range(count)]
        due = datetime.now(UTC) - MINUTE
        with self.database.write() as session:
            session.connection().execute(
                update(Delivery)
                .where(col(Delivery.id).in_(ids))
                .values({"queued": True, "next_attempt_at": due} | values)
            )
        return ids

    async def run(
        self,
        account_id: str | None = None,
        *,
        limit: int | None = None,
        stopping: asyncio.Event | None = None,
    ) -> Counter[str]:
        """Drain until nothing is due."""
        return await self.drainer.drain(
            str(uuid.uuid4()),
            account_id=account_id,
            limit=limit,
            stopping=stopping or asyncio.Event(),
        )

    def row(self, delivery_id: str) -> Delivery:
        with self.database.read() as session:
            return session.exec(select(Delivery).where(Delivery.id == delivery_id)).one()

    def states(self, account_id: str) -> Counter[str]:
        with self.database.read() as session:
            mine = select(Delivery.state).where(Delivery.account_id == account_id)
            return Counter(session.exec(mine))

    def attempts(self, account_id: str) -> list[Attempt]:
        with self.database.read() as session:
            mine = select(Attempt).join(Delivery).where(Delivery.account_id == account_id)
            return list(session.exec(mine))

    async def until(self, account_id: str, states: dict[str, int]) -> None:
        """Wait until the account's mails are in these states."""
        async with asyncio.timeout(20):
            while self.states(account_id) != states:  # noqa: ASYNC110 - rows send no events
                await asyncio.sleep(0.02)

    def parked(self, account_id: str) -> str | None:
        with self.database.read() as session:
            row = select(AccountRow.parked_reason).where(AccountRow.id == account_id)
            return session.exec(row).one()


@asynccontextmanager
async def draining(
    database: Database, folder: Path, *, handover_seconds: float = 5, **settings: Any
) -> AsyncIterator[Drain]:
    """A worker that can drain the queue of ``database``."""
    given = Settings(data_dir=folder, **settings)
    aside, committer, readers = Aside(database), Committer(database), Readers(database)
    journal = QueueJournal(database)
    limits, pauses = SendingLimits(aside, given), SlowDowns(aside, given)
    pool = SmtpPool(SmtpClient(), limits, pauses)
    accounts = Accounts(SecretBox(load_keyring(given).secrets))
    content = ContentStore(LocalBlobs(folder), 10_000)
    drainer = Drainer(
        committer,
        journal,
        readers,
        accounts,
        content,
        pool,
        given,
        handover_seconds=handover_seconds,
    )
    async with aside, limits, pool:
        try:
            yield Drain(database, drainer, accounts, committer)
        finally:
            await drainer.finish(0)
    committer.close()
    journal.close()
    readers.close()
