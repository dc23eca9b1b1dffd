"""Opens a run: looks at the server, takes the folder, recovers old batches, plans new ones."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError
from sqlmodel import Session

from activities.handling import HANDLINGS
from activities.ports import MailboxConnector, Runs, RunState
from activities.replication.servers import incoming
from activities.store import mailboxes
from activities.store.accounts import Accounts
from activities.store.engine import Database
from activities.store.log import record
from models.account import EmailAccount
from models.errors import ConnectorError, ErrorType
from models.ids import parts_of_chain
from models.mailbox import (
    FetchStrategy,
    Handling,
    OpenRetrievalInput,
    RetrievalOptions,
    RetrievalOverrides,
    RetrievalPlan,
)
from models.settings import Settings
from models.tables import CallbackDelivery, Retrieval
from models.uid_set import Range, count, descending, from_uids, head, subtract, tail
from models.wire import first_problem


class Opening:
    """Opens runs."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        connector: MailboxConnector,
        runs: Runs,
        settings: Settings,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._connector = connector
        self._runs = runs
        self._settings = settings

    def open(self, request: OpenRetrievalInput) -> RetrievalPlan:
        """Return the plan of a run; a repeated request meets the one it made."""
        account, endpoint = incoming(self._database, self._accounts, request.account)
        options = _options(request.overrides, account.retrieval)
        with self._database.read() as session:
            known = mailboxes.find_retrieval(session, request.retrieval_id)
        if known is not None:
            return self._reopened(request, account, known)
        if request.rewind is not None:
            folder_id = self._take_folder(account.id, options.folder, request.owner)
            with self._database.read() as session:
                validity, again = mailboxes.stored_again(session, folder_id, request.rewind)
            return self._planned(request, account, folder_id, validity, _kept(options), again)
        # A folder that does not exist must leave no row behind, so the server is asked first.
        with self._connector.connect(endpoint) as mailbox:
            HANDLINGS[options.handling].check(mailbox, options)
            state = mailbox.open(options.folder, read_only=True)
            folder_id = self._take_folder(account.id, options.folder, request.owner)
            unsettled = self._recover(folder_id, account.id, request)
            with self._database.read() as session:
                validity = state.uid_validity
                ranges = mailboxes.wanted(
                    session, folder_id, request.consumer, validity, without=unsettled
                )
                stored = mailboxes.stored_uids(session, folder_id, validity, ranges)
            # No mail has a number from UIDNEXT on: when nothing has come, nothing is asked.
            there = subtract(ranges, [(state.uid_next, mailboxes.LAST_UID)])
            found = mailbox.uids(there) if there else []
        return self._planned(
            request, account, folder_id, state.uid_validity, options, [*found, *stored]
        )

    def _planned(
        self,
        request: OpenRetrievalInput,
        account: EmailAccount,
        folder_id: str,
        uid_validity: int,
        options: RetrievalOptions,
        found: Sequence[int],
    ) -> RetrievalPlan:
        """Write the plan of a run for the mails that were found."""
        uids = _selected(from_uids(found), options)
        with self._database.write() as session:
            if mailboxes.find_retrieval(session, request.retrieval_id) is None:
                mailboxes.hold_folder(session, folder_id, request.owner)
                mailboxes.add_retrieval(
                    session,
                    retrieval_id=request.retrieval_id,
                    folder_id=folder_id,
                    consumer=request.consumer,
                    owner=request.owner,
                    uid_validity=uid_validity,
                    options=options,
                    uids=uids,
                    total=count(uids),
                    rewound=request.rewind is not None,
                )
                record(
                    session,
                    "retrieval_started",
                    account_id=account.id,
                    retrieval=request.retrieval_id,
                    mails=count(uids),
                )
            row = mailboxes.retrieval(session, request.retrieval_id)
            plan = self._plan(session, request, account, row)
            if not plan.batches and not plan.unsettled:
                mailboxes.close(session, row.id, row.folder_id, request.owner, account.id)
                plan = plan.model_copy(update={"closed": True})
            return plan

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
            workflow_id, first_run_id = parts_of_chain(holder)
            if self._runs.state(workflow_id, first_run_id) is RunState.RUNNING:
                raise ConnectorError(
                    ErrorType.MAILBOX_BUSY,
                    f"workflow {workflow_id} is retrieving this folder; wait for it or cancel it",
                    field="folder",
                )
            dead = holder

    def _reopened(
        self, request: OpenRetrievalInput, account: EmailAccount, plan: Retrieval
    ) -> RetrievalPlan:
        """The plan of a run that is repeated, or reset after its end: it takes the folder again."""
        options = RetrievalOptions.model_validate(plan.options)
        self._take_folder(account.id, options.folder, request.owner)
        with self._database.read() as session:
            return self._plan(session, request, account, plan)

    def _recover(self, folder_id: str, account_id: str, request: OpenRetrievalInput) -> list[str]:
        """Look after batches of runs that ended half-way; returns those still to be settled.

        A callback that completed although nobody was left to hear it counts as acknowledged.
        """
        with self._database.read() as session:
            left = mailboxes.unfinished(session, folder_id, request.consumer)
        unsettled: list[str] = []
        for batch in left:
            if batch.retrieval_id == request.retrieval_id:
                continue  # we are a frozen attempt: another one has opened, and the run goes on
            if batch.state == mailboxes.STORED:
                completed = self._has_completed(batch)
                with self._database.write() as session:
                    mailboxes.hold_folder(session, folder_id, request.owner)
                    if completed:
                        mailboxes.acknowledge(session, batch.id, account_id)
                    else:
                        mailboxes.abandon(session, batch.id)
                if not completed:
                    continue
            unsettled.append(batch.id)
        return unsettled

    @staticmethod
    def _unsettled(session: Session, plan: Retrieval) -> list[str]:
        return [
            b.id
            for b in mailboxes.unfinished(session, plan.folder_id, plan.consumer)
            if b.state == mailboxes.ACKNOWLEDGED and b.retrieval_id != plan.id
        ]

    def _has_completed(self, batch: CallbackDelivery) -> bool:
        state = RunState.MISSING
        if batch.workflow_id is not None:
            state = self._runs.state(batch.workflow_id)
        if state is RunState.RUNNING:
            # Temporal ends it along with its run; until then it may still complete.
            raise ConnectorError(
                ErrorType.MAILBOX_BUSY,
                "the callback of a run that ended early is still at work on mails of this folder",
                field="folder",
            )
        return state is RunState.COMPLETED

    def _plan(
        self, session: Session, request: OpenRetrievalInput, account: EmailAccount, plan: Retrieval
    ) -> RetrievalPlan:
        options = RetrievalOptions.model_validate(plan.options)
        return RetrievalPlan(
            retrieval_id=plan.id,
            owner=request.owner,
            account_id=account.id,
            folder_id=plan.folder_id,
            folder=options.folder,
            consumer=plan.consumer,
            total=plan.total,
            batches=-(-plan.total // options.batch_size),
            unsettled=[] if plan.rewound else self._unsettled(session, plan),
            one_session=account.incoming is not None and not account.incoming.protocol.has_folders,
            heartbeat_timeout_seconds=self._settings.heartbeat_timeout_seconds,
            patience_seconds=self._settings.fetch_retry_seconds,
        )


def _kept(options: RetrievalOptions) -> RetrievalOptions:
    """Options of a run that leaves the server alone and tells all that is meant."""
    changes = {"handling": Handling.NONE, "move_folder": None, "replicate_everything": True}
    return options.model_copy(update=changes)


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
