"""Listens to a folder, and retrieves what arrives in it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import NoReturn

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from models import policies
    from models.errors import ErrorType, known_type
    from models.ids import retrieve_workflow_id
    from models.mailbox import RetrieveEmailMessagesInput
    from models.names import (
        ActivityName,
        Direction,
        Query,
        RunStatus,
        Signal,
        TaskQueue,
        WorkflowType,
    )
    from models.subscription import (
        EndReason,
        ListenerNews,
        ListenerState,
        ListenInput,
        ListenResult,
        OpenSubscriptionInput,
        SubscribeForEmailNotificationInput,
        SubscribeForEmailNotificationResult,
        SubscriptionPlan,
        SubscriptionRun,
        SubscriptionStatus,
    )
    from workflows._steps import answer, step
    from workflows._tracking import failure_tracked, track

_LONG = 1000
"""Events after which a run is continued as new when its listener is renewed."""
_FIRST_PAUSE, _LAST_PAUSE = 2.0, 600.0
"""Between two retrievals that fail in a row, in seconds."""
_OWN_FIELDS = frozenset(SubscriptionRun.model_fields) - frozenset(
    SubscribeForEmailNotificationInput.model_fields
)


@workflow.defn(name=WorkflowType.SUBSCRIBE_FOR_EMAIL_NOTIFICATION)
class SubscribeForEmailNotificationWorkflow:
    """One listener and one retrieval at a time, until it is stopped.

    Something that is noticed while a retrieval runs leads to one more. An idle folder costs a few
    events an hour.
    """

    def __init__(self) -> None:
        self._status = SubscriptionStatus()
        self._run = SubscriptionRun(account="-")
        self._stopped = False
        self._due = False
        self._retrieving = False

    @workflow.query(name=Query.STATUS)
    def status(self) -> SubscriptionStatus:
        """How the subscription stands."""
        return self._status

    @workflow.signal(name=Signal.STOP)
    def stop(self) -> None:
        """Close the connection and complete; a retrieval that runs goes on by itself."""
        self._stopped = True

    @workflow.signal(name=Signal.NOTICED)
    def noticed(self, news: ListenerNews) -> None:
        """The listener has something to tell."""
        arrived, mark = news.arrived, news.mark
        known = self._run.mark
        if mark is not None:
            if known is not None and known.uid_validity == mark.uid_validity:
                arrived += max(0, mark.uid_next - known.uid_next)
            # A new connection: whatever came while there was none is looked for.
            self._due = True
        elif known is not None:
            mark = known.model_copy(update={"uid_next": known.uid_next + arrived})
        self._due = self._due or arrived > 0
        number = news.number_of_emails
        self._run = self._run.model_copy(
            update={
                "mark": mark,
                "missed": self._run.missed + arrived,
                "number_of_emails_of_account": number,
            }
        )
        since = news.at if news.state is not self._status.state else self._status.since
        self._tell(
            state=news.state,
            since=since,
            proven_at=news.proven_at or self._status.proven_at,
            error_type=news.error_type,
            arrived=self._status.arrived + arrived,
        )

    @workflow.run
    async def run(self, input: SubscriptionRun) -> SubscribeForEmailNotificationResult:
        """Listen."""
        with failure_tracked(Direction.INCOMING):
            result = await self._subscribe(input)
        track(Direction.INCOMING, RunStatus.RECEIVED)
        return result

    async def _subscribe(self, input: SubscriptionRun) -> SubscribeForEmailNotificationResult:
        info = workflow.info()
        if info.continued_run_id is None:
            _refuse_own_fields(input)
        self._run = input.model_copy(
            update={"mark": self._run.mark or input.mark, "missed": self._run.missed + input.missed}
        )
        self._status = input.status or self._status
        plan = input.plan or await self._open(input)
        self._run = self._run.model_copy(update={"plan": plan})
        self._tell(account_id=plan.account_id, folder=plan.folder)
        if plan.workflow_id != info.workflow_id:
            return self._result(plan, EndReason.ATTACHED)
        track(Direction.INCOMING, RunStatus.LISTENING, plan.account_id)
        # It is left as it stands when the subscription ends: what it has begun goes on.
        retrieving = asyncio.create_task(self._retrieve_what_arrives(plan))
        ended = await self._listen(plan, retrieving)
        self._tell(state=ListenerState.STOPPED, since=workflow.now())
        return self._result(plan, ended)

    async def _open(self, input: SubscriptionRun) -> SubscriptionPlan:
        wanted = {n: getattr(input, n) for n in SubscribeForEmailNotificationInput.model_fields}
        request = OpenSubscriptionInput(
            workflow_id=workflow.info().workflow_id,
            request=SubscribeForEmailNotificationInput.model_validate(wanted),
        )
        return await answer(
            ActivityName.OPEN_SUBSCRIPTION, request, SubscriptionPlan, policies.STORE_WORK
        )

    # --- Listening

    async def _listen(self, plan: SubscriptionPlan, retrieving: asyncio.Task[None]) -> EndReason:
        info = workflow.info()
        request = ListenInput(
            account_id=plan.account_id,
            folder=plan.folder,
            workflow_id=info.workflow_id,
            first_run_id=info.first_execution_run_id,
            while_flagged=self._run.while_flagged,
            renew_seconds=plan.renew_seconds,
        )
        options = policies.listen(plan.heartbeat_timeout_seconds, plan.renew_seconds)
        while True:
            listening = asyncio.create_task(
                step(ActivityName.LISTEN, request, ListenResult, options)
            )
            await self._until_over(listening, retrieving)
            ended = await _outcome(listening)
            if self._stopped:
                return EndReason.STOPPED
            if ended is not None:
                return ended
            if self._is_long():
                self._continue()

    async def _until_over(
        self, listening: asyncio.Task[ListenResult], retrieving: asyncio.Task[None]
    ) -> None:
        """Wait for the listener's end, or bring it about; until then its connection stands."""
        try:
            await workflow.wait_condition(
                lambda: (
                    self._stopped
                    or listening.done()
                    or retrieving.done()
                    or workflow.info().is_continue_as_new_suggested()
                )
            )
        except asyncio.CancelledError:
            listening.cancel()
            await workflow.wait_condition(listening.done)
            with suppress(ActivityError, asyncio.CancelledError):
                listening.result()
            raise
        listening.cancel()
        if retrieving.done():
            retrieving.result()

    def _is_long(self) -> bool:
        info = workflow.info()
        if info.is_continue_as_new_suggested():
            return True
        return info.get_current_history_length() > _LONG and not self._retrieving

    def _continue(self) -> NoReturn:
        # What is due is found again by the new listener, which looks for it at its beginning.
        workflow.continue_as_new(self._run.model_copy(update={"status": self._status}))

    # --- Retrieving

    async def _retrieve_what_arrives(self, plan: SubscriptionPlan) -> None:
        failures = 0
        while True:
            await workflow.wait_condition(lambda: self._due)
            self._due, self._retrieving = False, True
            missed = self._run.missed
            problem = await self._retrieve(plan, missed)
            self._retrieving = False
            if problem is None:
                failures = 0
                left = self._run.missed - missed
                self._run = self._run.model_copy(update={"missed": left})
                continue
            self._due = True
            pause = min(_FIRST_PAUSE * 2 ** min(failures, 20), _LAST_PAUSE)
            failures += 1
            await workflow.sleep(pause, summary="until the retrieval is tried again")

    async def _retrieve(self, plan: SubscriptionPlan, missed: int) -> ErrorType | None:
        """Run a retrieval; returns why it failed."""
        try:
            await workflow.execute_child_workflow(
                WorkflowType.RETRIEVE_EMAIL_MESSAGES,
                self._request(plan, missed),
                id=retrieve_workflow_id(plan.account_id, plan.folder),
                task_queue=TaskQueue.ORCHESTRATION,
                # What has begun is done, whatever becomes of the subscription.
                cancellation_type=ChildWorkflowCancellationType.ABANDON,
                parent_close_policy=ParentClosePolicy.ABANDON,
                static_summary="retrieve what arrived",
            )
        except WorkflowAlreadyStartedError:
            problem: ErrorType | None = ErrorType.MAILBOX_BUSY
        except ChildWorkflowError as error:
            problem = _type_of(error)
        else:
            problem = None
        self._tell(
            retrievals=self._status.retrievals + 1,
            last_retrieval_at=workflow.now(),
            retrieval_error_type=problem,
        )
        return problem

    def _request(self, plan: SubscriptionPlan, missed: int) -> RetrieveEmailMessagesInput:
        given = {n: getattr(self._run, n) for n in RetrieveEmailMessagesInput.model_fields}
        usual = self._run.number_of_emails or self._run.number_of_emails_of_account
        if usual is not None and missed > usual and not self._run.replicate_everything:
            # More came at once than a retrieval takes: they all are what somebody subscribed to.
            given["number_of_emails"] = min(missed, 1_000_000)
        return RetrieveEmailMessagesInput.model_validate(
            given | {"account": plan.account_id, "folder": plan.folder}
        )

    # --- Telling

    def _tell(self, **changes: object) -> None:
        self._status = self._status.model_copy(update=changes)

    def _result(
        self, plan: SubscriptionPlan, ended: EndReason
    ) -> SubscribeForEmailNotificationResult:
        return SubscribeForEmailNotificationResult(
            workflow_id=plan.workflow_id,
            account_id=plan.account_id,
            folder=plan.folder,
            ended=ended,
            retrievals=self._status.retrievals,
        )


async def _outcome(listening: asyncio.Task[ListenResult]) -> EndReason | None:
    """Why a listener ended for good; None when another one is to go on."""
    try:
        return (await listening).ended
    except ActivityError as error:
        if is_cancelled_exception(error) and workflow.cancellation_reason() is not None:
            raise
        return None
    except asyncio.CancelledError:
        if workflow.cancellation_reason() is not None:
            raise
        return None


def _type_of(error: BaseException) -> ErrorType:
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ApplicationError) and (kind := known_type(found.type)) is not None:
            return kind
        found = found.__cause__
    return ErrorType.INTERNAL


def _refuse_own_fields(input: SubscriptionRun) -> None:
    for name in sorted(_OWN_FIELDS):
        if getattr(input, name) != SubscriptionRun.model_fields[name].default:
            raise ApplicationError(
                f"{name}: this field is the workflow's own; leave it out",
                {"field": name},
                type=ErrorType.INVALID_INPUT,
                non_retryable=True,
            )
