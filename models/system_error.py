"""The error log as a service reads it: ``GetSystemError``."""

from __future__ import annotations

from pydantic import Field

from models.base import Payload, Reference, Request, UtcDatetime
from models.errors import ErrorType


class GetSystemErrorInput(Request):
    """Input of ``GetSystemError``; what is not given is not filtered by."""

    account: Reference | None = None
    """Id or name; one that was deleted is known by its id."""
    error_type: ErrorType | None = None
    since: UtcDatetime | None = None
    before: int | None = Field(default=None, ge=1)
    """Only errors with a smaller id: the next page."""
    limit: int = Field(default=20, ge=1, le=100)


class LoggedError(Payload):
    """One failure, with what to do about it. Ids, codes and words of ours: nothing of a mail."""

    id: int
    at: UtcDatetime
    type: str
    explanation: str
    what_to_do: str
    event: str
    """The step that failed: ``attempt_ended``, ``retrieval_failed``, ``webhook_dead``, …"""
    account_id: str | None = None
    message_id: str | None = None
    phase: str | None = None
    code: int | None = None


class GetSystemErrorResult(Payload):
    """Result of ``GetSystemError``: the latest errors, newest first."""

    errors: list[LoggedError]
