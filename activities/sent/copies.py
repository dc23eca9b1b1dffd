"""Copies of sent mails, put into the Sent folder.

Whatever goes wrong here is about the copy alone: the mail is sent, and nothing sends it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from activities.heartbeat import stop_if_cancelled
from activities.ports import Mailbox, MailboxConnector
from activities.replication.servers import with_folders
from activities.sent.folder import opened
from activities.store import sent_copies
from activities.store.accounts import Accounts
from activities.store.content import ContentStore
from activities.store.engine import Database
from activities.store.sent_copies import DueCopy
from models.delivery import SentCopy
from models.errors import ConnectorError, ErrorType


class SentCopies:
    """Files copies, one connection an account. Safe to repeat: what is there is not added."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        content: ContentStore,
        connector: MailboxConnector,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._content = content
        self._connector = connector

    def due(self, account_id: str, limit: int = 100) -> list[str]:
        """Queued deliveries of an account whose copies are due.

        Two who file one copy at the same time may both find none: one at a time for an account.
        """
        with self._database.read() as session:
            return sent_copies.due(session, account_id, limit)

    def file(self, delivery_ids: Sequence[str], *, last: bool = False) -> dict[str, SentCopy]:
        """File the copies that are due; returns how those of all the deliveries stand.

        Args:
            delivery_ids: Deliveries, of any accounts.
            last: A copy that cannot be filed now has failed; else it stays pending.

        Raises:
            ConnectorError: What kept a copy from being filed now, after all others are done.
        """
        with self._database.read() as session:
            copies = sent_copies.of(session, delivery_ids)
        trouble: ConnectorError | None = None
        copies.sort(key=lambda copy: copy.account_id)
        for account_id, group in groupby(copies, key=lambda copy: copy.account_id):
            trouble = self._file_all(account_id, list(group), last=last) or trouble
        if trouble is not None:
            raise trouble
        with self._database.read() as session:
            return sent_copies.states(session, delivery_ids)

    def give_up(self, delivery_ids: Sequence[str]) -> dict[str, SentCopy]:
        """Let copies that are still pending be failed: no mailbox was asked in all the time."""
        with self._database.read() as session:
            copies = sent_copies.of(session, delivery_ids)
        for copy in copies:
            self._settle(copy, SentCopy.FAILED, ErrorType.CONNECTION_TIMED_OUT)
        with self._database.read() as session:
            return sent_copies.states(session, delivery_ids)

    def _file_all(
        self, account_id: str, copies: list[DueCopy], *, last: bool
    ) -> ConnectorError | None:
        """File the copies of one account; returns what some of them have to wait for."""
        waiting = list(copies)
        try:
            account, endpoint = with_folders(self._database, self._accounts, account_id)
            with opened(self._connector, account, endpoint) as (mailbox, folder):
                while waiting:
                    stop_if_cancelled()
                    self._file_one(mailbox, folder, waiting[0])
                    waiting.pop(0)
        except ConnectorError as error:
            if error.type is ErrorType.STORE_UNAVAILABLE or (error.temporary and not last):
                return error
            for copy in waiting:
                self._settle(copy, SentCopy.FAILED, error.type)
        return None

    def _file_one(self, mailbox: Mailbox, folder: str, copy: DueCopy) -> None:
        try:
            with self._database.read() as session:
                if not sent_copies.of(session, [copy.delivery_id]):
                    return  # somebody else has been quicker
                raw = self._content.read(session, copy.content_key)[1]
            # An earlier try may have been cut off between APPEND and commit, and providers may do
            # it themselves, whatever we know of them.
            if mailbox.find_by_message_id(folder, copy.internet_message_id):
                self._settle(copy, SentCopy.FOUND)
                return
            mailbox.append(folder, raw, copy.when)
        except ConnectorError as error:
            if error.type not in _ABOUT_THE_MAIL:
                raise
            self._settle(copy, SentCopy.FAILED, error.type)
        else:
            self._settle(copy, SentCopy.FILED)

    def _settle(self, copy: DueCopy, state: SentCopy, error_type: ErrorType | None = None) -> None:
        with self._database.write() as session:
            sent_copies.settle(session, copy, state, error_type)


_ABOUT_THE_MAIL = frozenset(
    {
        ErrorType.CONTENT_DAMAGED,
        ErrorType.CONTENT_NOT_FOUND,
        ErrorType.INVALID_INPUT,
        ErrorType.MESSAGE_TOO_LARGE,
    }
)
"""What says nothing about the next mail; the connection is still good."""
