"""The queue: input and result of ``SendQueuedEmails``, and of the step that drains."""

from __future__ import annotations

from pydantic import Field

from models.base import Payload, Reference, Request


class QueueCounts(Payload):
    """Mails by what became of them."""

    sent: int = 0
    partially_sent: int = 0
    failed: int = 0
    unknown: int = 0
    cancelled: int = 0
    deferred: int = 0
    """Tries after which a mail waits for another one."""

    def plus(self, other: QueueCounts) -> QueueCounts:
        """Return the sum of both."""
        mine, theirs = self.model_dump(), other.model_dump()
        return QueueCounts(**{name: mine[name] + theirs[name] for name in mine})

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.model_dump().values())


class SendQueuedEmailsInput(Request):
    """Input of ``SendQueuedEmails``."""

    account: Reference | None = None
    """Only this account's mail."""
    limit: int | None = Field(default=None, ge=1)
    """Mails to try at the most; absent = all that are due."""
    counts: QueueCounts = QueueCounts()
    """What earlier runs of this chain have sent; callers leave it out."""


class SendQueuedEmailsResult(Payload):
    """Result of ``SendQueuedEmails``."""

    counts: QueueCounts
    due: int = 0
    """Mails that are due and were left: too many, or leased to another drain (at most 10,000)."""
    parked_accounts: int = 0
    """Accounts whose mail waits for a person, seen by this run."""


class DrainInput(Payload):
    """Input of ``sending.drain_queue``."""

    account: str | None = None
    limit: int | None = None
    told: list[str] = Field(default_factory=list)
    """Mails whose callers are being told, by workflows of their own."""


class DrainResult(Payload):
    """Result of ``sending.drain_queue``."""

    counts: QueueCounts
    due: int
    parked_accounts: int = 0
    sent_folders: list[str] = Field(default_factory=list)
    """Accounts in whose Sent folders there is something to do (at most 100)."""
    untold: list[str] = Field(default_factory=list)
    """Mails whose callers are to be told what became of them (at most 100)."""


class TendSentFolderInput(Payload):
    """Input of ``sending.tend_sent_folder``."""

    account_id: str
