"""Temporal Schedules: what runs again and again without anybody asking."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
)
from temporalio.service import RPCError, RPCStatusCode

from models.names import TaskQueue, WorkflowType
from models.queue import SendQueuedEmailsInput

_JITTER = 0.1
"""Share of the interval by which starts are spread, so that schedules do not start together."""
_CATCH_UP = timedelta(minutes=1)
"""Starts that were missed for longer are left out: one drain sends all that is due."""


@dataclass(frozen=True, slots=True)
class Drains:
    """A schedule that drains the queue."""

    schedule_id: str
    every: timedelta
    next_at: datetime | None


class Schedules:
    """Makes, changes and removes schedules.

    Args:
        client: A client with our data converter.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def drain(self, every: timedelta, account_id: str | None) -> Drains:
        """Drain the queue at an interval; a schedule that exists is changed.

        While a drain runs no other is started by the schedule (overlap policy ``Skip``): the one
        that runs goes on until nothing is due, and a second one would only find less.
        """
        schedule_id = drain_schedule_id(account_id)
        schedule = Schedule(
            action=ScheduleActionStartWorkflow(
                WorkflowType.SEND_QUEUED_EMAILS.value,
                SendQueuedEmailsInput(account=account_id),
                id=schedule_id.removeprefix("schedule/"),
                task_queue=TaskQueue.ORCHESTRATION,
            ),
            spec=ScheduleSpec(
                intervals=[ScheduleIntervalSpec(every=every)], jitter=every * _JITTER
            ),
            policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=_CATCH_UP),
        )
        try:
            handle = await self._client.create_schedule(
                schedule_id, schedule, trigger_immediately=True
            )
        except ScheduleAlreadyRunningError:
            handle = self._client.get_schedule_handle(schedule_id)
            await handle.update(lambda _: ScheduleUpdate(schedule))
        described = await handle.describe()
        return Drains(schedule_id, every, next(iter(described.info.next_action_times), None))

    async def stop_drain(self, account_id: str | None) -> bool:
        """Remove a schedule; False when there was none. A drain that runs goes on."""
        handle = self._client.get_schedule_handle(drain_schedule_id(account_id))
        try:
            await handle.delete()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return True


def drain_schedule_id(account_id: str | None) -> str:
    """Id of the schedule that drains an account's mail, or everybody's."""
    return f"schedule/send-queued/{account_id}" if account_id else "schedule/send-queued"
