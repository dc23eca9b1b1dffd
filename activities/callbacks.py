"""What became of a callback that had been started before."""

from __future__ import annotations

from temporalio import activity

from activities.heartbeat import blocking_heartbeats
from activities.ports import Runs, RunState
from models.callback import CallbackState, CallbackStateInput
from models.names import ActivityName


class CallbackActivities:
    """Activity of workflows that run callbacks."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    @activity.defn(name=ActivityName.CALLBACK_STATE, no_thread_cancel_exception=True)
    def read_callback_state(self, request: CallbackStateInput) -> CallbackState:
        """Whether the callback with this workflow id has completed."""
        with blocking_heartbeats():
            state = self._runs.state(request.workflow_id)
        return CallbackState(completed=state is RunState.COMPLETED)
