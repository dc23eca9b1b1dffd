"""The Sent folders of queued mail: copies that are due, and unknown outcomes to look up.

One worker at a time for an account: two who file one copy at the same time might both find none.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from activities.heartbeat import stop_if_cancelled
from activities.sent.copies import SentCopies
from activities.sent.verification import Verification
from activities.store import sent_copies, slots
from activities.store.engine import Database
from models.errors import ConnectorError

_BATCH = 20
_LEASE = timedelta(minutes=30)
"""Longer than a batch can take; a worker that dies meanwhile delays the account by it."""
_PATIENCE = timedelta(days=1)
"""A copy that could not be filed for so long has failed."""


class Tending:
    """Files what is due for an account, and looks up what is in doubt."""

    def __init__(self, database: Database, verification: Verification, copies: SentCopies) -> None:
        self._database = database
        self._verification = verification
        self._copies = copies

    def tend(self, account_id: str) -> None:
        """Do all that is due; what cannot be done now is due again with the next drain.

        Raises:
            ConnectorError: The mailbox or the store does not answer now.
        """
        with self._alone(account_id) as alone:
            if not alone:
                return
            for delivery_id in self._verification.due(account_id):
                stop_if_cancelled()
                self._verification.look(delivery_id)
            while due := self._copies.due(account_id, _BATCH):
                stop_if_cancelled()
                self._file(due)

    def _file(self, due: list[str]) -> None:
        try:
            self._copies.file(due)
        except ConnectorError:
            with self._database.read() as session:
                copies = sent_copies.of(session, due)
            longest = datetime.now(UTC) - _PATIENCE
            old = [copy.delivery_id for copy in copies if copy.when and copy.when < longest]
            if old:
                self._copies.give_up(old)
            raise

    @contextmanager
    def _alone(self, account_id: str) -> Iterator[bool]:
        scope, owner = f"sent/{account_id}", str(uuid.uuid4())
        with self._database.write() as session:
            number = slots.take(session, scope, 1, owner, _LEASE)
        if number is None:
            yield False
            return
        try:
            yield True
        finally:
            with self._database.write() as session:
                slots.release(session, owner, [(scope, number)])
