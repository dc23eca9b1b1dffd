"""Settles a batch whose callback has completed: handles its mails on the server."""

from __future__ import annotations

from activities.handling import HANDLINGS
from activities.heartbeat import stop_if_cancelled
from activities.ports import MailboxConnector
from activities.replication.servers import incoming
from activities.store import mailboxes
from activities.store.accounts import Accounts
from activities.store.engine import Database
from models.mailbox import RetrievalOptions
from models.tables import Retrieval

_CHUNK = 50
"""Mails handled on the server between two looks at the lease."""


class Settling:
    """Handles mails on the server."""

    def __init__(self, database: Database, accounts: Accounts, connector: MailboxConnector) -> None:
        self._database = database
        self._accounts = accounts
        self._connector = connector

    def handle(self, plan: Retrieval, batch_id: str, owner: str) -> None:
        """Remove or move what is left of an acknowledged batch."""
        options = RetrievalOptions.model_validate(plan.options)
        handling = HANDLINGS[options.handling]
        if not handling.changes_server:
            return
        with self._database.read() as session:
            uids = mailboxes.unhandled_uids(session, plan, batch_id)
            account_id = mailboxes.account_of(session, plan.folder_id)
        if not uids:
            return
        with self._database.write() as session:
            lease = mailboxes.begin_step(session, plan.folder_id, owner)
        _, endpoint = incoming(self._database, self._accounts, account_id)
        with self._connector.connect(endpoint) as mailbox:
            state = mailbox.open(options.folder, read_only=False)
            if state.uid_validity != plan.uid_validity:
                # The numbers now mean other mails: whatever is left undone, these are not touched.
                return
            for start in range(0, len(uids), _CHUNK):
                stop_if_cancelled()
                chunk = uids[start : start + _CHUNK]
                with self._database.read() as session:
                    mailboxes.check_lease(session, lease)
                handling.apply(mailbox, options, chunk)
                with self._database.write() as session:
                    mailboxes.mark_handled(session, plan, chunk)
