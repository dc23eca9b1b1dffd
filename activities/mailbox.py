"""Replication of a folder, step by step; each step can be repeated and finds its own rows.

open_retrieval ─► fetch_batch ─► (callback) ─► settle_batch ─► … ─► close_retrieval
   lease, plan      stored         the consumer's    handled, cursor
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from pydantic import ValidationError
from sqlmodel import Session
from temporalio import activity

from activities.errors import application_error
from activities.handling import HANDLINGS
from activities.heartbeat import blocking_heartbeats
from activities.mail.parse import parse_many
from activities.mail.render import render_html
from activities.ports import (
    Endpoint,
    FetchedMail,
    FolderState,
    MailboxConnector,
    Runs,
    RunState,
)
from activities.store import inbox, mailboxes, messages
from activities.store.accounts import Accounts
from activities.store.content import ContentStore
from activities.store.engine import Database
from activities.store.log import record
from models.account import AccountReference, EmailAccount, IncomingProtocol
from models.callback import CallbackKind
from models.errors import ConnectorError, ErrorType
from models.ids import callback_workflow_id, derived_id
from models.mailbox import (
    BatchInput,
    BatchResult,
    CloseRetrievalInput,
    FetchedBatch,
    FetchStrategy,
    GetFolderNamesResult,
    OpenRetrievalInput,
    RetrievalOptions,
    RetrievalOverrides,
    RetrievalPlan,
    SettleBatchInput,
    SettleBatchResult,
)
from models.names import ActivityName
from models.settings import Settings
from models.tables import Retrieval
from models.uid_set import Range, as_ranges, count, descending, from_uids, head, section, tail
from models.wire import first_problem

_CHUNK_BYTES = 16 * 1024 * 1024
"""Mails are stored whenever this much has been read, so that memory does not grow with a batch."""
_HANDLE_CHUNK = 50
"""Mails handled on the server between two looks at the lease."""
_OPEN_ATTEMPTS = 2
"""Temporal's timers are a second apart, and whoever asked waits for the answer."""


class MailboxActivities:
    """Activities of ``RetrieveEmailMessages`` and ``GetFolderNames``."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        content: ContentStore,
        connector: MailboxConnector,
        runs: Runs,
        settings: Settings,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._content = content
        self._connector = connector
        self._runs = runs
        self._settings = settings

    @activity.defn(name=ActivityName.LIST_FOLDERS)
    def list_folders(self, request: AccountReference) -> GetFolderNamesResult:
        """All folders of the account's incoming server."""
        account, endpoint = self._incoming(request.account)
        with self._connector.connect(endpoint) as mailbox:
            return GetFolderNamesResult(account_id=account.id, folders=mailbox.folders())

    @activity.defn(name=ActivityName.OPEN_RETRIEVAL)
    def open_retrieval(self, request: OpenRetrievalInput) -> RetrievalPlan:
        """Take the folder and plan the run.

        An unreachable server is reported soon; waiting for one is for runs that have begun.
        """
        try:
            with blocking_heartbeats():
                return self._open(request)
        except ConnectorError as error:
            raise application_error(error, non_retryable=self._hopeless(error)) from None

    @activity.defn(name=ActivityName.FETCH_BATCH)
    def fetch_batch(self, request: BatchInput) -> BatchResult:
        """Fetch, parse and store one batch. On return all of it is committed."""
        with blocking_heartbeats():
            with self._database.read() as session:
                plan = mailboxes.retrieval(session, request.retrieval_id)
            batch_id = derived_id("batch", plan.id, str(request.number))
            with self._database.read() as session:
                done = mailboxes.batch(session, batch_id) is not None
            if not done:
                self._fetch(plan, request.number, batch_id)
            with self._database.read() as session:
                return self._batch_result(session, plan, batch_id)

    @activity.defn(name=ActivityName.SETTLE_BATCH)
    def settle_batch(self, request: SettleBatchInput) -> SettleBatchResult:
        """The callback has completed: acknowledge, handle on the server, advance the cursor."""
        with blocking_heartbeats():
            with self._database.write() as session:
                batch = mailboxes.batch(session, request.batch_id)
                if batch is None:
                    raise ConnectorError(ErrorType.INTERNAL, "the batch is not in the store")
                plan = mailboxes.retrieval(session, batch.retrieval_id)
                account_id = self._account_of(session, plan)
                mailboxes.acknowledge(session, batch.id, account_id)
            handled = self._handle(plan, batch.id, request.owner)
            with self._database.write() as session:
                mailboxes.settle(session, plan, batch.id, account_id)
            return SettleBatchResult(handled=handled)

    @activity.defn(name=ActivityName.CLOSE_RETRIEVAL)
    def close_retrieval(self, request: CloseRetrievalInput) -> None:
        """Free the folder and write the end into the timeline."""
        error = request.error
        with self._database.write() as session:
            mailboxes.end_retrieval(session, request.retrieval_id)
            mailboxes.release_folder(session, request.folder_id, request.owner)
            record(
                session,
                "retrieval_failed" if error else "retrieval_completed",
                account_id=request.account_id,
                error_type=error.type if error else None,
                retrieval=request.retrieval_id,
            )

    # --- opening --------------------------------------------------------------------------------

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

    def _incoming(self, reference: str) -> tuple[EmailAccount, Endpoint]:
        with self._database.read() as session:
            account, endpoint = self._accounts.incoming(session, reference)
        if account.incoming and account.incoming.protocol in (
            IncomingProtocol.POP3,
            IncomingProtocol.POP3S,
        ):
            raise ConnectorError(
                ErrorType.CAPABILITY_MISSING,
                "mail is retrieved by IMAP; give the account an IMAP server",
                field="account",
            )
        return account, endpoint

    def _open(self, request: OpenRetrievalInput) -> RetrievalPlan:
        account, endpoint = self._incoming(request.account)
        options = _options(request.overrides, account.retrieval)
        with self._database.read() as session:
            known = mailboxes.find_retrieval(session, request.retrieval_id)
            if known is not None:
                return self._plan(session, request, account.id, known)
        # A folder that does not exist must leave no row behind, so the server is asked first.
        with self._connector.connect(endpoint) as mailbox:
            HANDLINGS[options.handling].check(mailbox, options)
            state = mailbox.open(options.folder, read_only=True)
            folder_id = self._take_folder(account.id, options.folder, request.owner)
            unsettled = self._recover(folder_id, account.id, request.consumer)
            with self._database.read() as session:
                ranges = mailboxes.wanted(
                    session, folder_id, request.consumer, state.uid_validity, without=unsettled
                )
            uids = _selected(from_uids(mailbox.uids(ranges)), options)
        with self._database.write() as session:
            mailboxes.add_retrieval(
                session,
                retrieval_id=request.retrieval_id,
                folder_id=folder_id,
                consumer=request.consumer,
                owner=request.owner,
                uid_validity=state.uid_validity,
                options=options,
                uids=uids,
                total=count(uids),
            )
            record(
                session,
                "retrieval_started",
                account_id=account.id,
                retrieval=request.retrieval_id,
                mails=count(uids),
            )
            plan = mailboxes.retrieval(session, request.retrieval_id)
            return self._plan(session, request, account.id, plan)

    def _take_folder(self, account_id: str, name: str, owner: str) -> str:
        dead: str | None = None
        while True:
            with self._database.write() as session:
                folder = mailboxes.ensure_folder(session, account_id, name)
                holder = folder.lease_owner
                if mailboxes.take_folder(session, folder, owner, dead):
                    return folder.id
            if holder is None or holder == dead:
                continue  # it changed hands between the two looks
            workflow_id, _, first_run_id = holder.rpartition(" ")
            if self._runs.state(workflow_id, first_run_id) is RunState.RUNNING:
                raise ConnectorError(
                    ErrorType.MAILBOX_BUSY,
                    f"workflow {workflow_id} is retrieving this folder; wait for it or cancel it",
                    field="folder",
                )
            dead = holder

    def _recover(self, folder_id: str, account_id: str, consumer: str) -> list[str]:
        """Look after batches of runs that ended half-way; returns those still to be settled.

        A callback that completed although nobody was left to hear it counts as acknowledged.
        """
        with self._database.read() as session:
            left = mailboxes.unfinished(session, folder_id, consumer)
        unsettled: list[str] = []
        for batch in left:
            if batch.state == mailboxes.STORED:
                completed = (
                    batch.workflow_id is not None
                    and self._runs.state(batch.workflow_id) is RunState.COMPLETED
                )
                with self._database.write() as session:
                    if completed:
                        mailboxes.acknowledge(session, batch.id, account_id)
                    else:
                        mailboxes.abandon(session, batch.id)
                if not completed:
                    continue
            unsettled.append(batch.id)
        return unsettled

    def _plan(
        self, session: Session, request: OpenRetrievalInput, account_id: str, plan: Retrieval
    ) -> RetrievalPlan:
        options = RetrievalOptions.model_validate(plan.options)
        return RetrievalPlan(
            retrieval_id=plan.id,
            owner=request.owner,
            account_id=account_id,
            folder_id=plan.folder_id,
            folder=options.folder,
            consumer=plan.consumer,
            total=plan.total,
            batches=-(-plan.total // options.batch_size),
            unsettled=[
                b.id
                for b in mailboxes.unfinished(session, plan.folder_id, plan.consumer)
                if b.state == mailboxes.ACKNOWLEDGED and b.retrieval_id != plan.id
            ],
            heartbeat_timeout_seconds=self._settings.heartbeat_timeout_seconds,
            patience_seconds=self._settings.fetch_retry_seconds,
        )

    # --- fetching -------------------------------------------------------------------------------

    def _fetch(self, plan: Retrieval, number: int, batch_id: str) -> None:
        options = RetrievalOptions.model_validate(plan.options)
        size = options.batch_size
        uids = section(as_ranges(plan.uids), number * size, (number + 1) * size)
        with self._database.read() as session:
            account_id = self._account_of(session, plan)
            placed = inbox.located(session, plan.folder_id, plan.uid_validity, uids)
        skipped = self._fetch_missing(plan, options, account_id, uids, placed)
        with self._database.write() as session:
            for uid in sorted(skipped):
                record(
                    session,
                    "mail_skipped",
                    account_id=account_id,
                    error_type=ErrorType.MESSAGE_TOO_LARGE,
                    folder=plan.folder_id,
                    uid=uid,
                )
            taken = mailboxes.acknowledged_by(session, plan.consumer, set(placed.values()))
            mailboxes.add_batch(
                session,
                batch_id=batch_id,
                plan=plan,
                number=number,
                workflow_id=callback_workflow_id(CallbackKind.ON_EMAIL_FETCH, batch_id),
                items=[
                    {
                        "position": position,
                        "uid": uid,
                        "message_id": placed.get(uid),
                        "skipped": uid in skipped,
                        "known": placed.get(uid) in taken,
                    }
                    for position, uid in enumerate(uids)
                ],
            )

    def _fetch_missing(
        self,
        plan: Retrieval,
        options: RetrievalOptions,
        account_id: str,
        uids: Sequence[int],
        placed: dict[int, str],
    ) -> set[int]:
        """Fetch and store what is not in ``placed`` yet, adding to it; returns what is too large.

        One mail above the limit must not keep all others from being replicated.
        """
        _, endpoint = self._incoming(account_id)
        skipped: set[int] = set()
        while missing := [uid for uid in uids if uid not in placed and uid not in skipped]:
            with self._connector.connect(endpoint) as mailbox:
                _same_validity(mailbox.open(options.folder, read_only=True), plan)
                try:
                    for chunk in _chunks(mailbox.fetch(missing)):
                        placed |= self._store(plan, options, account_id, chunk)
                except ConnectorError as error:
                    uid = error.detail.get("uid")
                    if error.type is not ErrorType.MESSAGE_TOO_LARGE or uid is None:
                        raise
                    skipped.add(int(uid))
                else:
                    break  # what is still missing is gone from the server
        return skipped

    def _store(
        self,
        plan: Retrieval,
        options: RetrievalOptions,
        account_id: str,
        mails: Sequence[FetchedMail],
    ) -> dict[int, str]:
        arrivals = [inbox.arrival(account_id, mail) for mail in mails]
        with self._database.read() as session:
            known = inbox.stored(session, [a.message_id for a in arrivals])
        # One row per mail, also when a folder holds the same bytes twice.
        new = list({a.message_id: a for a in arrivals if a.message_id not in known}.values())
        parsed = list(zip(new, parse_many([a.mail.raw for a in new]), strict=True))
        content = self._content.prepare(
            piece
            for item, mail in parsed
            for piece in inbox.pieces(item, mail, render_html(mail, options))
        )
        placed = [(a.mail.uid, a.message_id) for a in arrivals]
        with self._database.write() as session:
            inbox.insert(session, account_id, parsed, content)
            inbox.place(session, plan.folder_id, plan.uid_validity, placed)
        return dict(placed)

    def _batch_result(self, session: Session, plan: Retrieval, batch_id: str) -> BatchResult:
        items = mailboxes.items(session, batch_id)
        fresh = {i.message_id: i.uid for i in reversed(items) if i.message_id and not i.known}
        placed = [(uid, message_id) for message_id, uid in reversed(fresh.items())]
        summaries = messages.summaries(session, placed)
        options = RetrievalOptions.model_validate(plan.options)
        batch = FetchedBatch(
            batch_id=batch_id,
            account_id=self._account_of(session, plan),
            folder=options.folder,
            consumer=plan.consumer,
            messages=summaries,
        )
        return BatchResult(
            batch=batch,
            known=sum(i.known for i in items),
            quarantined=sum(m.quarantined for m in summaries),
            skipped=sum(i.skipped for i in items),
        )

    # --- handling -------------------------------------------------------------------------------

    def _handle(self, plan: Retrieval, batch_id: str, owner: str) -> int:
        options = RetrievalOptions.model_validate(plan.options)
        handling = HANDLINGS[options.handling]
        with self._database.read() as session:
            uids = mailboxes.unhandled_uids(session, plan, batch_id)
            account_id = self._account_of(session, plan)
        if not handling.changes_server or not uids:
            return 0
        with self._database.write() as session:
            lease = mailboxes.begin_step(session, plan.folder_id, owner)
        _, endpoint = self._incoming(account_id)
        with self._connector.connect(endpoint) as mailbox:
            state = mailbox.open(options.folder, read_only=False)
            if state.uid_validity != plan.uid_validity:
                # The numbers now mean other mails: whatever is left undone, these are not touched.
                return 0
            for start in range(0, len(uids), _HANDLE_CHUNK):
                chunk = uids[start : start + _HANDLE_CHUNK]
                with self._database.read() as session:
                    mailboxes.check_lease(session, lease)
                handling.apply(mailbox, options, chunk)
                with self._database.write() as session:
                    mailboxes.mark_handled(session, plan, chunk)
        return len(uids)

    @staticmethod
    def _account_of(session: Session, plan: Retrieval) -> str:
        return mailboxes.account_of(session, plan.folder_id)


def _options(overrides: RetrievalOverrides, defaults: RetrievalOptions) -> RetrievalOptions:
    try:
        return overrides.applied_to(defaults)
    except ValidationError as error:
        field, reason = first_problem(error)
        raise ConnectorError(ErrorType.INVALID_INPUT, reason, field=field) from None


def _selected(uids: Sequence[Range], options: RetrievalOptions) -> list[Range]:
    """The UIDs of a run in delivery order."""
    if options.replicate_everything:
        return list(uids)
    if options.fetch_strategy is FetchStrategy.OLDEST:
        return head(uids, options.number_of_emails)
    return descending(tail(uids, options.number_of_emails))


def _same_validity(state: FolderState, plan: Retrieval) -> None:
    if state.uid_validity != plan.uid_validity:
        raise ConnectorError(
            ErrorType.UID_VALIDITY_CHANGED,
            "the server renumbered the folder during the run; start it again, known mail is "
            "recognised",
            field="folder",
        )


def _chunks(mails: Iterator[FetchedMail]) -> Iterator[list[FetchedMail]]:
    chunk: list[FetchedMail] = []
    size = 0
    for mail in mails:
        chunk.append(mail)
        size += len(mail.raw)
        if size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
