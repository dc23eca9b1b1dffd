"""The journal of single mails: each intent is a write of its own in the committer's group."""

from __future__ import annotations

from collections.abc import Sequence

from activities.store import ledger
from activities.store.committer import Committer
from activities.store.ledger import AttemptTicket


class LedgerJournal:
    """``activities.transmitting.transaction.Journal`` over the ledger."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer

    async def intend(self, ticket: AttemptTicket, accepted: Sequence[int]) -> None:
        """Commit that the final dot is about to be written."""
        await self._committer.commit(lambda s: ledger.intend_dot(s, ticket, accepted))

    async def withdraw(self, ticket: AttemptTicket) -> None:
        """Commit that it will not be."""
        await self._committer.commit(lambda s: ledger.withdraw_dot(s, ticket))
