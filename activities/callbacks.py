"""What callbacks need: what became of one, whom to tell of a mail, and who did not listen."""

from __future__ import annotations

from sqlmodel import Session
from temporalio import activity

from activities.heartbeat import blocking_heartbeats
from activities.ports import Runs, RunState
from activities.store import history, ledger, operator
from activities.store.callbacks import StoredCallbacks
from activities.store.engine import Database
from activities.store.log import record
from models.callback import CallbackState, CallbackStateInput
from models.errors import ErrorType
from models.failure import Failure
from models.names import ActivityName
from models.outcome import CallbackFailureInput, NotifySendOutcomeInput, StoredOutcome

_ABOUT_SENDING = frozenset({"attempt_ended", "message_settled"})


class CallbackActivities:
    """Activities of workflows that run callbacks."""

    def __init__(self, runs: Runs, database: Database, callbacks: StoredCallbacks) -> None:
        self._runs = runs
        self._database = database
        self._callbacks = callbacks

    @activity.defn(name=ActivityName.CALLBACK_STATE, no_thread_cancel_exception=True)
    def read_callback_state(self, request: CallbackStateInput) -> CallbackState:
        """Whether the callback with this workflow id has completed."""
        with blocking_heartbeats():
            state = self._runs.state(request.workflow_id)
        return CallbackState(completed=state is RunState.COMPLETED)

    @activity.defn(name=ActivityName.READ_OUTCOME, no_thread_cancel_exception=True)
    def read_outcome(self, request: NotifySendOutcomeInput) -> StoredOutcome:
        """What became of a mail, and who is to be told of it."""
        with blocking_heartbeats(), self._database.read() as session:
            message = history.message_of(session, request.message_id)
            delivery = operator.delivery_of(session, message.id)
            error = _last_error(session, message.id)
            return StoredOutcome(
                message_id=message.id,
                internet_message_id=message.internet_message_id or "",
                account_id=message.account_id,
                report=ledger.report(session, delivery.id, error),
                callbacks=self._callbacks.unpack(message.callbacks),
            )

    @activity.defn(name=ActivityName.RECORD_CALLBACK_FAILURE, no_thread_cancel_exception=True)
    def record_callback_failure(self, request: CallbackFailureInput) -> None:
        """Write a callback that nobody acknowledged into the error log."""
        with blocking_heartbeats(), self._database.write() as session:
            record(
                session,
                "callback_failed",
                account_id=request.account_id,
                message_id=request.message_id,
                error_type=ErrorType.CALLBACK_FAILED,
                kind=request.kind.value,
            )


def _last_error(session: Session, message_id: str) -> Failure | None:
    wanted = history.StepFilter(message_id=message_id, errors=True)
    return next(
        (
            failure
            for step in history.steps(session, wanted, limit=10)
            if step.event in _ABOUT_SENDING and (failure := history.failure_of(step))
        ),
        None,
    )
