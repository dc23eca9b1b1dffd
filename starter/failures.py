"""Temporal's failures as errors of the contract."""

from __future__ import annotations

from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    TerminatedError,
    TimeoutError,
)

from models.errors import ConnectorError, ErrorType

_KNOWN = frozenset(t.value for t in ErrorType)


def connector_error(failure: BaseException | None, workflow_id: str) -> ConnectorError:
    """Return the error that ended a workflow: the first typed one in its chain of causes."""
    cause = failure
    while cause is not None:
        if isinstance(cause, ApplicationError) and cause.type in _KNOWN:
            return _typed(cause, ErrorType(cause.type))
        cause = cause.__cause__
    return ConnectorError(
        ErrorType.INTERNAL, f"workflow {workflow_id} {_ending(failure)}; its history says more"
    )


def silent_temporal(address: str) -> ConnectorError:
    """Return the error for a Temporal frontend that does not answer."""
    return ConnectorError(
        ErrorType.CONNECTION_FAILED,
        f"Temporal cannot be reached at {address}; start it with 'python -m starter up', or set "
        "TEMPORAL_ADDRESS to where it runs",
    )


def _typed(error: ApplicationError, kind: ErrorType) -> ConnectorError:
    field = next(
        (d["field"] for d in error.details if isinstance(d, dict) and d.get("field")), None
    )
    message = error.message
    if field is not None:
        message = message.removeprefix(f"{field}: ")
    if message in (kind, f"{kind}: {field}"):
        # The failure converter leaves only type and field to readers without the payload key.
        message = "the details are encrypted with a payload key this machine does not have"
    return ConnectorError(kind, message, field=field)


def _ending(failure: BaseException | None) -> str:
    if isinstance(failure, CancelledError):
        return "was cancelled"
    if isinstance(failure, TerminatedError):
        return "was terminated"
    if isinstance(failure, TimeoutError):
        return "did not end within its time limit (is a worker running?)"
    return "failed"
