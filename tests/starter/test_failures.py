"""Temporal's failures as errors of the contract."""

from __future__ import annotations

import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    RetryState,
    TerminatedError,
)

from models.errors import ErrorType
from models.wire import data_converter
from starter.failures import connector_error

KEY = {"k1": b"k" * 32}


def refusal() -> ApplicationError:
    return ApplicationError(
        "message.to: give an address", {"field": "message.to"}, type=ErrorType.INVALID_INPUT.value
    )


def test_type_field_and_message_come_from_the_typed_cause() -> None:
    outer = ChildWorkflowError(
        "child",
        namespace="",
        workflow_id="",
        run_id="",
        workflow_type="",
        initiated_event_id=0,
        started_event_id=0,
        retry_state=RetryState.NON_RETRYABLE_FAILURE,
    )
    outer.__cause__ = refusal()
    error = connector_error(outer, "send/1")
    assert (error.type, error.field) == (ErrorType.INVALID_INPUT, "message.to")
    assert error.message == "give an address"


async def over_the_wire(read_with: dict[str, bytes]) -> BaseException:
    failure = Failure()
    await data_converter(KEY).encode_failure(refusal(), failure)
    return await data_converter(read_with).decode_failure(failure)


async def test_with_the_key_the_message_is_read() -> None:
    assert connector_error(await over_the_wire(KEY), "send/1").message == "give an address"


async def test_without_the_key_type_and_field_are_read() -> None:
    error = connector_error(await over_the_wire({"k2": b"2" * 32}), "send/1")
    assert (error.type, error.field) == (ErrorType.INVALID_INPUT, "message.to")
    assert "key" in error.message


@pytest.mark.parametrize(
    ("failure", "word"),
    [
        (CancelledError("x"), "cancelled"),
        (TerminatedError("x"), "terminated"),
        (ApplicationError("x", type="ValueError"), "failed"),
        (None, "failed"),
    ],
)
def test_an_end_without_a_type_is_named(failure: BaseException | None, word: str) -> None:
    error = connector_error(failure, "send/1")
    assert error.type is ErrorType.INTERNAL
    assert word in error.message
