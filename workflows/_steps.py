"""Runs one activity by its name, typed."""

from __future__ import annotations

from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.workflow import ActivityConfig

with workflow.unsafe.imports_passed_through():
    from models.base import Payload
    from models.names import ActivityName

R = TypeVar("R", bound=Payload)


async def step(
    name: ActivityName, request: Payload, result_type: type[R], options: ActivityConfig
) -> R:
    """Return the activity's result."""
    result: R = await workflow.execute_activity(name, request, result_type=result_type, **options)
    return result


async def answer(
    name: ActivityName, request: Payload, result_type: type[R], options: ActivityConfig
) -> R:
    """Return the activity's result; its typed error becomes the workflow's own."""
    try:
        return await step(name, request, result_type, options)
    except ActivityError as error:
        if isinstance(error.cause, ApplicationError):
            raise error.cause from None
        raise
