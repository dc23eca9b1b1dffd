"""Commands: the only place that starts, queries and awaits workflows by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast
from uuid import uuid4

from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.subscription_runs import SubscriptionRuns
from models.account import CheckServerConnectionInput, CheckServerConnectionResult, EmailAccount
from models.base import Payload
from models.delivery import DeliveryReport, SendEmailInput, SendEmailResult
from models.errors import ConnectorError, ErrorType
from models.ids import retrieve_workflow_id, send_workflow_id, subscription_workflow_id
from models.mailbox import (
    GetFolderNamesInput,
    GetFolderNamesResult,
    RetrievalProgress,
    RetrieveEmailMessagesInput,
    RetrieveEmailMessagesResult,
)
from models.message import GetEmailMessageInput, GetEmailMessageResult
from models.names import ActivityName, Query, Signal, TaskQueue, WorkflowType
from models.outcome import NotifySendOutcomeResult
from models.queue import QueueCounts, SendQueuedEmailsInput, SendQueuedEmailsResult
from models.subscription import (
    ListenerSign,
    ListenerState,
    SubscribeForEmailNotificationInput,
    SubscribeForEmailNotificationResult,
    SubscriptionStatus,
    terms_of,
)
from models.system_error import GetSystemErrorInput, GetSystemErrorResult
from models.webhook import DeliverWebhookInput, DeliverWebhookResult
from starter.failures import connector_error, silent_temporal
from starter.run_ending import cancel_run, is_running
from starter.run_filter import RunFilter
from starter.run_list import ListedRun, list_runs

R = TypeVar("R", bound=Payload)
Progress = DeliveryReport | RetrievalProgress | QueueCounts

RESULTS: dict[str, type[Payload]] = {
    WorkflowType.SEND_EMAIL: SendEmailResult,
    WorkflowType.SEND_QUEUED_EMAILS: SendQueuedEmailsResult,
    WorkflowType.RETRIEVE_EMAIL_MESSAGES: RetrieveEmailMessagesResult,
    WorkflowType.SUBSCRIBE_FOR_EMAIL_NOTIFICATION: SubscribeForEmailNotificationResult,
    WorkflowType.GET_EMAIL_MESSAGE: GetEmailMessageResult,
    WorkflowType.GET_FOLDER_NAMES: GetFolderNamesResult,
    WorkflowType.CHECK_SERVER_CONNECTION: CheckServerConnectionResult,
    WorkflowType.DELIVER_WEBHOOK: DeliverWebhookResult,
    WorkflowType.NOTIFY_SEND_OUTCOME: NotifySendOutcomeResult,
    WorkflowType.GET_SYSTEM_ERROR: GetSystemErrorResult,
}

# Somebody waits for the answer; without a worker the question must not outlive its asker.
_ASK_LIMIT = timedelta(minutes=5)
_QUERY_LIMIT = timedelta(seconds=2)
_AWAY = frozenset({RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED})


@dataclass(frozen=True, slots=True)
class Run(Generic[R]):
    """A workflow that was started, and what it will return."""

    workflow_id: str
    run_id: str
    result_type: type[R]


class Commands:
    """What can be asked of the engine. Every failure is a ``ConnectorError``.

    Args:
        client: A client with our data converter.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def send(
        self, request: SendEmailInput, *, workflow_id: str | None = None
    ) -> Run[SendEmailResult]:
        """Start sending a mail.

        Args:
            request: The account and the mail.
            workflow_id: An id of the caller's own; the same id never sends a second mail.

        Raises:
            ConnectorError: ``IdempotencyConflict`` when ``workflow_id`` was used before.
        """
        return await self._start(
            WorkflowType.SEND_EMAIL,
            request,
            SendEmailResult,
            workflow_id or send_workflow_id(str(uuid4())),
            reuse=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            conflict=ConnectorError(
                ErrorType.IDEMPOTENCY_CONFLICT,
                f"workflow {workflow_id} was started before; read what became of its mail with "
                f"'result {workflow_id}', or use another id",
                field="workflow_id",
            ),
        )

    async def send_queued(
        self, request: SendQueuedEmailsInput, *, workflow_id: str | None = None
    ) -> Run[SendQueuedEmailsResult]:
        """Start draining the queue; any number of drains may run at once."""
        return await self._start(
            WorkflowType.SEND_QUEUED_EMAILS,
            request,
            SendQueuedEmailsResult,
            workflow_id or f"send-queued/{uuid4()}",
        )

    async def retrieve(
        self, request: RetrieveEmailMessagesInput, account: EmailAccount
    ) -> Run[RetrieveEmailMessagesResult]:
        """Start retrieving a folder.

        A running retrieval of the same folder may have other options, so it is never joined
        silently.

        Args:
            request: What to retrieve.
            account: The account that ``request`` names.

        Raises:
            ConnectorError: ``MailboxBusy`` when this folder is being retrieved.
        """
        workflow_id = retrieve_workflow_id(account.id, request.folder or account.retrieval.folder)
        return await self._start(
            WorkflowType.RETRIEVE_EMAIL_MESSAGES,
            request,
            RetrieveEmailMessagesResult,
            workflow_id,
            conflict=ConnectorError(
                ErrorType.MAILBOX_BUSY,
                f"workflow {workflow_id} is retrieving this folder; wait for it with "
                f"'result {workflow_id}', or cancel it",
                field="folder",
            ),
        )

    async def subscribe(
        self, request: SubscribeForEmailNotificationInput, account: EmailAccount
    ) -> str:
        """See to it that a folder is listened to; returns the id of the workflow that does.

        Args:
            request: The folder, and how what arrives is retrieved.
            account: The account that ``request`` names.

        Raises:
            ConnectorError: ``StateConflict`` when it is listened to on other terms.
        """
        workflow_id = subscription_workflow_id(
            account.id, request.folder or account.retrieval.folder
        )
        with self._translated(workflow_id):
            terms = terms_of(request, account.id)
            await SubscriptionRuns(self._client).start(workflow_id, request, terms)
        return workflow_id

    async def unsubscribe(self, workflow_id: str) -> None:
        """Tell a subscription to stop; it has when its connection is closed.

        Raises:
            ConnectorError: ``InvalidInput`` when there is none.
        """
        with self._translated(workflow_id):
            await self._client.get_workflow_handle(workflow_id).signal(Signal.STOP)

    async def subscription(self, workflow_id: str) -> SubscriptionStatus:
        """How a subscription stands; of its connection the listener knows more than the run.

        Raises:
            ConnectorError: ``InvalidInput`` when there is none; ``InternalError`` when no worker
                answers.
        """
        handle = self._client.get_workflow_handle(workflow_id)
        with self._translated(workflow_id):
            try:
                status: SubscriptionStatus = await handle.query(
                    Query.STATUS, result_type=SubscriptionStatus, rpc_timeout=_QUERY_LIMIT
                )
            except WorkflowQueryFailedError:
                raise ConnectorError(
                    ErrorType.INVALID_INPUT,
                    "this workflow is no subscription",
                    field="workflow_id",
                ) from None
            sign = await self._listeners_sign(handle)
        if sign is None or status.state is ListenerState.STOPPED:
            return status
        proven = max((at for at in (sign.proven_at, status.proven_at) if at), default=None)
        return status.model_copy(update={"proven_at": proven})

    async def _listeners_sign(self, handle: WorkflowHandle[Any, Any]) -> ListenerSign | None:
        """The last heartbeat of a subscription's listener."""
        described = (await handle.describe()).raw_description
        for pending in described.pending_activities:
            if pending.activity_type.name == ActivityName.LISTEN and pending.HasField(
                "heartbeat_details"
            ):
                (sign,) = await self._client.data_converter.decode(
                    pending.heartbeat_details.payloads, [ListenerSign]
                )
                return cast(ListenerSign, sign)
        return None

    async def get_email_message(self, request: GetEmailMessageInput) -> GetEmailMessageResult:
        """Read a stored mail."""
        return await self._ask(
            WorkflowType.GET_EMAIL_MESSAGE, request, GetEmailMessageResult, "read"
        )

    async def get_folder_names(self, request: GetFolderNamesInput) -> GetFolderNamesResult:
        """List the folders of an account."""
        return await self._ask(
            WorkflowType.GET_FOLDER_NAMES, request, GetFolderNamesResult, "folders"
        )

    async def check_server_connection(
        self, request: CheckServerConnectionInput
    ) -> CheckServerConnectionResult:
        """Log in to the servers of an account."""
        return await self._ask(
            WorkflowType.CHECK_SERVER_CONNECTION, request, CheckServerConnectionResult, "check"
        )

    async def get_system_error(self, request: GetSystemErrorInput) -> GetSystemErrorResult:
        """Read the error log."""
        return await self._ask(
            WorkflowType.GET_SYSTEM_ERROR, request, GetSystemErrorResult, "errors"
        )

    async def redeliver_webhook(self, request: DeliverWebhookInput) -> Run[DeliverWebhookResult]:
        """Start delivering a stored event again.

        Raises:
            ConnectorError: ``LeaseLost`` when that is being done already.
        """
        workflow_id = f"webhook/{request.redeliver}"
        return await self._start(
            WorkflowType.DELIVER_WEBHOOK,
            request,
            DeliverWebhookResult,
            workflow_id,
            conflict=ConnectorError(
                ErrorType.LEASE_LOST,
                f"workflow {workflow_id} is delivering this event; wait for it with "
                f"'result {workflow_id}', or cancel it",
            ),
        )

    async def wait(self, run: Run[R]) -> R:
        """Wait for a run and return its result."""
        handle = self._client.get_workflow_handle(
            run.workflow_id, first_execution_run_id=run.run_id, result_type=run.result_type
        )
        with self._translated(run.workflow_id):
            result: R = await handle.result()
            return result

    async def find(self, workflow_id: str) -> Run[Payload]:
        """Return the latest run of a workflow id.

        Raises:
            ConnectorError: ``InvalidInput`` when there is none, or it is not one of our types.
        """
        with self._translated(workflow_id):
            description = await self._client.get_workflow_handle(workflow_id).describe()
        result_type = RESULTS.get(description.workflow_type)
        if result_type is None:
            raise ConnectorError(
                ErrorType.INVALID_INPUT,
                "this workflow is not one of ours; read its result in Temporal's UI",
                field="workflow_id",
            )
        first = description.raw_description.workflow_execution_info.first_run_id
        return Run(workflow_id, first or description.run_id, result_type)

    async def result(self, workflow_id: str) -> Payload:
        """Wait for the latest run of a workflow id and return its result."""
        return await self.wait(await self.find(workflow_id))

    async def progress(self, workflow_id: str) -> Progress | None:
        """How far a run got; None when it has not begun or nobody can say."""
        handle = self._client.get_workflow_handle(workflow_id)
        answer = cast(type[Any], Progress | None)
        try:
            found: Progress | None = await handle.query(
                Query.PROGRESS, result_type=answer, rpc_timeout=_QUERY_LIMIT
            )
        except WorkflowQueryFailedError:
            return None
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise _unknown_run() from None
            return None
        return found

    async def pause_retrieval(self, workflow_id: str, *, paused: bool) -> None:
        """Have a retrieval begin with nothing more, or go on.

        Raises:
            ConnectorError: ``InvalidInput`` when no retrieval of this id is under way.
        """
        run = await self.find(workflow_id)
        handle = self._client.get_workflow_handle(workflow_id)
        with self._translated(workflow_id):
            description = await handle.describe()
            running = description.status is WorkflowExecutionStatus.RUNNING
            if run.result_type is not RetrieveEmailMessagesResult or not running:
                raise ConnectorError(
                    ErrorType.INVALID_INPUT,
                    "this is no retrieval that is under way; see 'runs list'",
                    field="workflow_id",
                )
            await handle.signal(Signal.PAUSE if paused else Signal.RESUME)

    async def running(self, workflow_id: str, first_run_id: str) -> bool:
        """Whether a chain of runs is still under way."""
        with self._translated():
            return await is_running(self._client, workflow_id, first_run_id)

    async def cancel(self, workflow_id: str, first_run_id: str, *, patience: timedelta) -> None:
        """Cancel a chain of runs and wait for its end; one that is over is left alone.

        It may last longer than ``patience``, when no worker runs that could carry it out.
        """
        with self._translated():
            await cancel_run(self._client, workflow_id, first_run_id, patience)

    async def running_ids(self, kind: WorkflowType) -> list[str]:
        """The ids of the runs of a type that are under way; visibility is seconds behind."""
        query = f"WorkflowType = '{kind.value}' AND ExecutionStatus = 'Running'"
        with self._translated():
            return [run.id async for run in self._client.list_workflows(query)]

    @property
    def namespace(self) -> str:
        """Temporal's namespace."""
        return self._client.namespace

    async def runs(self, wanted: RunFilter, *, ui_url: str, limit: int) -> list[ListedRun]:
        """List the runs that visibility knows, the latest first."""
        with self._translated():
            found = list_runs(self._client, wanted, ui_url=ui_url, limit=limit)
            return [run async for run in found]

    async def _ask(
        self, kind: WorkflowType, request: Payload, result_type: type[R], prefix: str
    ) -> R:
        run = await self._start(kind, request, result_type, f"{prefix}/{uuid4()}", limit=_ASK_LIMIT)
        return await self.wait(run)

    async def _start(
        self,
        kind: WorkflowType,
        request: Payload,
        result_type: type[R],
        workflow_id: str,
        *,
        reuse: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        conflict: ConnectorError | None = None,
        limit: timedelta | None = None,
    ) -> Run[R]:
        with self._translated(workflow_id):
            try:
                handle = await self._client.start_workflow(
                    kind.value,
                    request,
                    id=workflow_id,
                    task_queue=TaskQueue.ORCHESTRATION,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    id_reuse_policy=reuse,
                    execution_timeout=limit,
                )
            except WorkflowAlreadyStartedError:
                if conflict is None:
                    raise
                raise conflict from None
        return Run(workflow_id, handle.first_execution_run_id or "", result_type)

    @contextmanager
    def _translated(self, workflow_id: str = "") -> Iterator[None]:
        try:
            yield
        except WorkflowFailureError as error:
            raise connector_error(error.cause, workflow_id) from None
        except ApplicationError as error:  # our converter, when a result cannot be read
            raise connector_error(error, workflow_id) from None
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND and workflow_id:
                raise _unknown_run() from None
            if error.status in _AWAY:
                raise silent_temporal(self._client.service_client.config.target_host) from None
            raise ConnectorError(
                ErrorType.INTERNAL, f"Temporal refused the request: {error.message}"
            ) from None


def _unknown_run() -> ConnectorError:
    return ConnectorError(
        ErrorType.INVALID_INPUT,
        "Temporal knows no run with this id; it may be older than the namespace's retention",
        field="workflow_id",
    )
