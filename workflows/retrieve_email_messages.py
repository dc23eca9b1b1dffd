"""Replicates a folder in batches, each handed to a callback before the server is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    is_cancelled_exception,
)

with workflow.unsafe.imports_passed_through():
    from models import policies
    from models.callback import CallbackKind
    from models.errors import TEMPORARY, ErrorType, known_type
    from models.failure import Failure
    from models.ids import chain_of, derived_id
    from models.mailbox import (
        BatchInput,
        BatchResult,
        CloseRetrievalInput,
        FetchCompleted,
        FetchFailed,
        OpenRetrievalInput,
        RetrievalOverrides,
        RetrievalPlan,
        RetrievalProgress,
        RetrievalRun,
        RetrieveEmailMessagesResult,
        SettleBatchInput,
        SettleBatchResult,
    )
    from models.names import ActivityName, Direction, Query, RunStatus, Signal, WorkflowType
    from workflows._callback import run_callback
    from workflows._fetch_ahead import FetchAhead
    from workflows._steps import step
    from workflows._tracking import failure_tracked, track

_AHEAD_PATCH = "fetch-ahead"


@workflow.defn(name=WorkflowType.RETRIEVE_EMAIL_MESSAGES)
class RetrieveEmailMessagesWorkflow:
    """Open the folder; then per batch fetch and store, call back, handle; then complete.

    The order of the steps is a promise: nothing changes on the server before the mail is stored
    and the callback has completed.
    """

    def __init__(self) -> None:
        self._progress: RetrievalProgress | None = None
        self._paused: bool | None = None

    @workflow.query(name=Query.PROGRESS)
    def progress(self) -> RetrievalProgress | None:
        """How far the run got; None before the folder is open."""
        return self._progress and self._progress.model_copy(update={"paused": bool(self._paused)})

    @workflow.signal(name=Signal.PAUSE)
    def pause(self) -> None:
        """Begin with nothing more; what is under way is completed. The folder stays taken."""
        self._paused = True

    @workflow.signal(name=Signal.RESUME)
    def resume(self) -> None:
        """Go on."""
        self._paused = False

    @workflow.run
    async def run(self, input: RetrievalRun) -> RetrieveEmailMessagesResult:
        """Replicate the folder."""
        with failure_tracked(Direction.INCOMING):
            result = await self._retrieve(input)
        track(Direction.INCOMING, RunStatus.RECEIVED)
        return result

    async def _retrieve(self, input: RetrievalRun) -> RetrieveEmailMessagesResult:
        if (input.plan or input.progress) and workflow.info().continued_run_id is None:
            raise ApplicationError(
                "plan: this field is the workflow's own; leave it out",
                {"field": "plan"},
                type=ErrorType.INVALID_INPUT,
                non_retryable=True,
            )
        retrieval_id = self._retrieval_id()
        try:
            plan = input.plan or await self._open(input, retrieval_id)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            await self._tell_of_error(input, retrieval_id, None, _failure(error))
            raise _final(error) from error
        track(Direction.INCOMING, RunStatus.RECEIVING, plan.account_id)
        if self._paused is None and input.progress is not None:
            self._paused = input.progress.paused  # before it was carried on in this run
        self._progress = input.progress or RetrievalProgress(
            retrieval_id=plan.retrieval_id,
            folder=plan.folder,
            total=plan.total,
            batches=plan.batches,
        )
        try:
            await self._replicate(input, plan)
        except (FailureError, asyncio.CancelledError) as error:
            if is_cancelled_exception(error):
                await asyncio.shield(self._close(plan, None))
                raise
            failure = _failure(error)
            await self._close(plan, failure)
            await self._tell_of_error(input, retrieval_id, plan, failure)
            raise _final(error) from error
        if not plan.closed:
            await self._close(plan, None)
        return await self._complete(input, plan)

    def _retrieval_id(self) -> str:
        info = workflow.info()
        return derived_id("retrieval", info.workflow_id, info.first_execution_run_id)

    async def _open(self, input: RetrievalRun, retrieval_id: str) -> RetrievalPlan:
        info = workflow.info()
        request = OpenRetrievalInput(
            retrieval_id=retrieval_id,
            # The chain, not the run: the folder stays ours when we continue as new.
            owner=chain_of(info.workflow_id, info.first_execution_run_id),
            account=input.account,
            consumer=input.consumer,
            rewind=input.rewind,
            overrides=RetrievalOverrides(
                **{name: getattr(input, name) for name in RetrievalOverrides.model_fields}
            ),
        )
        return await step(
            ActivityName.OPEN_RETRIEVAL, request, RetrievalPlan, policies.OPEN_MAILBOX
        )

    async def _replicate(self, input: RetrievalRun, plan: RetrievalPlan) -> None:
        if input.progress is None:
            for batch_id in plan.unsettled:
                await self._settle(plan, batch_id)
        if not plan.one_session and workflow.patched(_AHEAD_PATCH):
            await self._batches(input, plan).run(self._numbers(plan))
        else:
            steps = self._batches(input, plan)
            for number in self._numbers(plan):
                await steps.one(number)
        if self._state.next_batch < plan.batches:
            workflow.continue_as_new(
                input.model_copy(update={"plan": plan, "progress": self.progress()})
            )

    def _numbers(self, plan: RetrievalPlan) -> Iterator[int]:
        """The batches that are left, until the history is long enough."""
        for number in range(self._state.next_batch, plan.batches):
            if workflow.info().is_continue_as_new_suggested():
                return
            yield number

    def _batches(self, input: RetrievalRun, plan: RetrievalPlan) -> FetchAhead[BatchResult]:
        """The steps of a batch."""

        async def fetch(number: int) -> BatchResult:
            await self._resumed()
            return await step(
                ActivityName.FETCH_BATCH,
                BatchInput(retrieval_id=plan.retrieval_id, number=number),
                BatchResult,
                policies.mailbox(plan.heartbeat_timeout_seconds, plan.patience_seconds),
            )

        async def call_back(fetched: BatchResult) -> None:
            batch = fetched.batch
            await self._resumed()
            if input.on_email_fetch and batch.messages:
                await run_callback(
                    CallbackKind.ON_EMAIL_FETCH, input.on_email_fetch, batch.batch_id, batch
                )

        async def settle(fetched: BatchResult) -> None:
            handled = await self._settle(plan, fetched.batch.batch_id)
            state = self._state
            self._progress = state.model_copy(
                update={
                    "next_batch": state.next_batch + 1,
                    "retrieved": state.retrieved + len(fetched.batch.messages),
                    "known": state.known + fetched.known,
                    "quarantined": state.quarantined + fetched.quarantined,
                    "skipped": state.skipped + fetched.skipped,
                    "handled": state.handled + handled,
                }
            )

        return FetchAhead(fetch, call_back, settle)

    async def _resumed(self) -> None:
        await workflow.wait_condition(lambda: not self._paused)

    async def _settle(self, plan: RetrievalPlan, batch_id: str) -> int:
        result = await step(
            ActivityName.SETTLE_BATCH,
            SettleBatchInput(batch_id=batch_id, owner=plan.owner),
            SettleBatchResult,
            policies.mailbox(plan.heartbeat_timeout_seconds, plan.patience_seconds),
        )
        return result.handled

    async def _close(self, plan: RetrievalPlan, error: Failure | None) -> None:
        request = CloseRetrievalInput(
            retrieval_id=plan.retrieval_id,
            owner=plan.owner,
            account_id=plan.account_id,
            folder_id=plan.folder_id,
            error=error,
        )
        await workflow.execute_activity(
            ActivityName.CLOSE_RETRIEVAL, request, **policies.STORE_WORK
        )

    async def _complete(
        self, input: RetrievalRun, plan: RetrievalPlan
    ) -> RetrieveEmailMessagesResult:
        state = self._state
        if input.on_fetch_complete:
            event = FetchCompleted(
                retrieval_id=plan.retrieval_id,
                account_id=plan.account_id,
                folder=plan.folder,
                consumer=plan.consumer,
                retrieved=state.retrieved,
                batches=plan.batches,
            )
            await run_callback(
                CallbackKind.ON_FETCH_COMPLETE, input.on_fetch_complete, plan.retrieval_id, event
            )
        return RetrieveEmailMessagesResult(
            retrieval_id=plan.retrieval_id,
            account_id=plan.account_id,
            folder=plan.folder,
            consumer=plan.consumer,
            retrieved=state.retrieved,
            known=state.known,
            batches=plan.batches,
            handled=state.handled,
            quarantined=state.quarantined,
            skipped=state.skipped,
        )

    async def _tell_of_error(
        self,
        input: RetrievalRun,
        retrieval_id: str,
        plan: RetrievalPlan | None,
        failure: Failure,
    ) -> None:
        if input.on_fetch_error is None:
            return
        event = FetchFailed(
            retrieval_id=retrieval_id,
            account_id=plan.account_id if plan else input.account,
            folder=plan.folder if plan else input.folder or "",
            consumer=input.consumer,
            retrieved=self._progress.retrieved if self._progress else 0,
            error=failure,
        )
        try:
            await run_callback(
                CallbackKind.ON_FETCH_ERROR, input.on_fetch_error, retrieval_id, event
            )
        except ApplicationError:
            # The run fails with its own error; a second one about the messenger would hide it.
            workflow.logger.warning("on_fetch_error did not complete")

    @property
    def _state(self) -> RetrievalProgress:
        if self._progress is None:
            raise ApplicationError("not open", type=ErrorType.INTERNAL, non_retryable=True)
        return self._progress


def _cause(error: BaseException) -> ApplicationError | None:
    found: BaseException | None = error
    while found is not None and not isinstance(found, ApplicationError):
        found = found.__cause__
    return found


def _failure(error: BaseException) -> Failure:
    cause = _cause(error)
    kind = (known_type(cause.type) if cause else None) or ErrorType.INTERNAL
    message = cause.message if cause else "a step did not finish in time; see the run's history"
    field = next((d["field"] for d in (cause.details if cause else ()) if "field" in d), None)
    return Failure(type=kind, message=message, temporary=kind in TEMPORARY, field=field)


def _final(error: BaseException) -> ApplicationError:
    failure = _failure(error)
    details = [{"field": failure.field}] if failure.field else []
    return ApplicationError(failure.message, *details, type=failure.type.value, non_retryable=True)
