"""Checks the servers of an account."""

from __future__ import annotations

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from models import policies
    from models.account import (
        CheckServerConnectionInput,
        CheckServerConnectionResult,
        ServerCheck,
    )
    from models.names import ActivityName, TaskQueue, WorkflowType
    from workflows._steps import answer


@workflow.defn(name=WorkflowType.CHECK_SERVER_CONNECTION)
class CheckServerConnectionWorkflow:
    """Log in to each configured server at once; say what failed and what to do about it."""

    @workflow.run
    async def run(self, input: CheckServerConnectionInput) -> CheckServerConnectionResult:
        """Check both sides."""
        outgoing_options = policies.ASK_SERVER | {"task_queue": TaskQueue.SMTP}
        outgoing, incoming = await asyncio.gather(
            answer(ActivityName.CHECK_OUTGOING, input, ServerCheck, outgoing_options),
            answer(ActivityName.CHECK_INCOMING, input, ServerCheck, policies.ASK_SERVER),
        )
        sides = [side for side in (outgoing, incoming) if side.configured]
        return CheckServerConnectionResult(
            account_id=outgoing.account_id,
            ok=bool(sides) and all(side.ok for side in sides),
            outgoing=outgoing if outgoing.configured else None,
            incoming=incoming if incoming.configured else None,
        )
