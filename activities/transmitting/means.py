"""What the lanes of a drain share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from activities.ports import SmtpConnections
from activities.store.accounts import Accounts
from activities.store.committer import Committer
from activities.store.content import ContentStore
from activities.store.queue import QueuedMail
from activities.store.readers import Readers
from activities.transmitting.batches import Batches
from activities.transmitting.transaction import Transaction
from models.settings import Settings


@dataclass(frozen=True, slots=True)
class Means:
    """What all lanes of a drain share."""

    owner: str
    committer: Committer
    readers: Readers
    accounts: Accounts
    content: ContentStore
    connections: SmtpConnections
    transaction: Transaction[QueuedMail]
    batches: Batches
    settings: Settings
    take: Callable[[int], int]
    """Asks for the right to lease so many mails; tells how many it may be."""
    give: Callable[[int], None]
    """Gives such a right back, unused."""
    stopping: asyncio.Event
