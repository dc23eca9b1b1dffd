"""A worker's pool over a store, and what the tests of pools ask of a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from activities.limits import SendingLimits
from activities.mail.smtp import SmtpClient
from activities.mail.smtp_pool import SmtpPool
from activities.ports import Endpoint, LeasedSession, Reply, SmtpConnections
from activities.providers.profile import GENERIC, Profile
from activities.slow_downs import SlowDowns
from activities.store.aside import Aside
from activities.store.engine import Database
from models.settings import Settings
from tests.mail import smtp_kit
from tests.mail.smtp_kit import MAIL, RCPT, SENDER
from tests.smtp_server import SmtpServer

PATIENCE = timedelta(seconds=10)
PROFILE = replace(GENERIC, idle_seconds=60)


def endpoint(port: int, **changes: Any) -> Endpoint:
    """As that of the SMTP tests, but a busy machine is no fault of the server."""
    return smtp_kit.endpoint(port, **({"timeout": timedelta(seconds=10)} | changes))


@dataclass
class Worker:
    """What one worker has."""

    pool: SmtpPool
    limits: SendingLimits
    store: Aside

    async def send(
        self,
        account_id: str,
        target: Endpoint,
        *,
        recipient: str = RCPT,
        patience: timedelta = PATIENCE,
    ) -> Reply:
        """Send one mail over a connection of the pool."""
        async with self.pool.lease(account_id, target, patience) as session:
            return await transact(session, recipient)


async def transact(session: LeasedSession, recipient: str = RCPT) -> Reply:
    """One mail; the reply to it, or to its only recipient."""
    replies = await session.envelope(SENDER, [recipient], len(MAIL))
    if not replies[recipient].accepted:
        return replies[recipient]
    await session.body(MAIL)
    return await session.end_of_data(timedelta(seconds=5))


@asynccontextmanager
async def working(
    database: Database, *, most: int = 200, lease_seconds: float = 30, **profile: Any
) -> AsyncIterator[Worker]:
    """A worker with what is known of its provider changed by ``profile``."""
    settings = Settings(slot_lease_seconds=lease_seconds, slow_down_seconds=1)
    known = replace(PROFILE, **profile)

    def profile_of(_host: str) -> Profile:
        return known

    store = Aside(database)
    limits = SendingLimits(store, settings, profile_of)
    pauses = SlowDowns(store, settings, profile_of)
    pool = SmtpPool(SmtpClient(), limits, pauses, most=most, profile=profile_of)
    _: SmtpConnections = pool  # mypy: the contract is kept
    async with store, limits, pool:
        yield Worker(pool, limits, store)


def commands(server: SmtpServer, verb: str) -> int:
    """How often the server was told ``verb``, over all connections."""
    return sum(
        line.split(" ")[0].upper() == verb for c in server.connections for line in c.commands
    )
