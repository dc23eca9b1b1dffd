"""Replication of a folder, step by step; each step can be repeated and finds its own rows.

open_retrieval ─► fetch_batch ─► (callback) ─► settle_batch ─► … ─► close_retrieval
   lease, plan      stored         the consumer's    handled, cursor
"""

from __future__ import annotations

from datetime import UTC, datetime

from temporalio import activity

from activities.errors import application_error
from activities.heartbeat import blocking_heartbeats
from activities.ports import MailboxConnector
from activities.replication.fetching import Fetching
from activities.replication.opening import Opening
from activities.replication.results import batch_result
from activities.replication.servers import incoming
from activities.replication.settling import Settling
from activities.store import mailboxes
from activities.store.accounts import Accounts
from activities.store.engine import Database
from models.account import AccountReference
from models.errors import ConnectorError, ErrorType
from models.ids import derived_id
from models.mailbox import (
    BatchInput,
    BatchResult,
    CloseRetrievalInput,
    GetFolderNamesResult,
    OpenRetrievalInput,
    RetrievalPlan,
    SettleBatchInput,
    SettleBatchResult,
)
from models.names import ActivityName
from models.settings import Settings

_OPEN_ATTEMPTS = 2
"""Temporal's timers are a second apart, and whoever asked waits for the answer."""


class MailboxActivities:
    """Activities of ``RetrieveEmailMessages`` and ``GetFolderNames``."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        connector: MailboxConnector,
        settings: Settings,
        *,
        opening: Opening,
        fetching: Fetching,
        settling: Settling,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._connector = connector
        self._settings = settings
        self._opening = opening
        self._fetching = fetching
        self._settling = settling

    @activity.defn(name=ActivityName.LIST_FOLDERS, no_thread_cancel_exception=True)
    def list_folders(self, request: AccountReference) -> GetFolderNamesResult:
        """All folders of the account's incoming server."""
        account, endpoint = incoming(self._database, self._accounts, request.account)
        with self._connector.connect(endpoint) as mailbox:
            return GetFolderNamesResult(account_id=account.id, folders=mailbox.folders())

    @activity.defn(name=ActivityName.OPEN_RETRIEVAL, no_thread_cancel_exception=True)
    def open_retrieval(self, request: OpenRetrievalInput) -> RetrievalPlan:
        """Take the folder and plan the run.

        An unreachable server is reported soon; waiting for one is for runs that have begun.
        """
        try:
            with blocking_heartbeats():
                return self._opening.open(request)
        except ConnectorError as error:
            raise application_error(error, non_retryable=self._hopeless(error)) from None

    @activity.defn(name=ActivityName.FETCH_BATCH, no_thread_cancel_exception=True)
    def fetch_batch(self, request: BatchInput) -> BatchResult:
        """Fetch, parse and store one batch. On return all of it is committed."""
        with blocking_heartbeats():
            with self._database.read() as session:
                plan = mailboxes.retrieval(session, request.retrieval_id)
            batch_id = derived_id("batch", plan.id, str(request.number))
            with self._database.read() as session:
                done = mailboxes.batch(session, batch_id)
            if done is None:
                self._fetching.fetch(plan, request.number, batch_id)
            elif done.state == mailboxes.ABANDONED:
                raise ConnectorError(
                    ErrorType.LEASE_LOST, "a later run has taken over the mails of this batch"
                )
            with self._database.read() as session:
                return batch_result(session, plan, batch_id)

    @activity.defn(name=ActivityName.SETTLE_BATCH, no_thread_cancel_exception=True)
    def settle_batch(self, request: SettleBatchInput) -> SettleBatchResult:
        """The callback has completed: acknowledge, handle on the server, advance the cursor."""
        with blocking_heartbeats():
            with self._database.write() as session:
                batch = mailboxes.batch(session, request.batch_id)
                if batch is None:
                    raise ConnectorError(ErrorType.INTERNAL, "the batch is not in the store")
                plan = mailboxes.retrieval(session, batch.retrieval_id)
                account_id = mailboxes.account_of(session, plan.folder_id)
                if batch.state != mailboxes.SETTLED:
                    mailboxes.hold_folder(session, plan.folder_id, request.owner)
                mailboxes.acknowledge(session, batch.id, account_id)
            self._settling.handle(plan, batch.id, request.owner)
            with self._database.write() as session:
                mailboxes.settle(session, plan, batch.id, account_id)
                if plan.rewound:
                    return SettleBatchResult(handled=0)
                # Counted in the store: an attempt before this one may have done part of it.
                return SettleBatchResult(handled=mailboxes.handled(session, plan, batch.id))

    @activity.defn(name=ActivityName.CLOSE_RETRIEVAL, no_thread_cancel_exception=True)
    def close_retrieval(self, request: CloseRetrievalInput) -> None:
        """Free the folder and write the end into the timeline."""
        with blocking_heartbeats(), self._database.write() as session:
            mailboxes.close(
                session,
                request.retrieval_id,
                request.folder_id,
                request.owner,
                request.account_id,
                request.error,
            )

    def _hopeless(self, error: ConnectorError) -> bool:
        """Whether opening ends with this error instead of being tried again."""
        match error.type:
            case ErrorType.MAILBOX_BUSY:
                waited = datetime.now(UTC) - activity.info().scheduled_time
                return waited.total_seconds() > self._settings.mailbox_busy_seconds
            case ErrorType.STORE_UNAVAILABLE:
                return False
            case ErrorType.CONNECTION_TIMED_OUT:
                # The account's own time limit was the patience there is.
                return True
            case _:
                return not error.temporary or activity.info().attempt >= _OPEN_ATTEMPTS
