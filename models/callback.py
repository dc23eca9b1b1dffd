"""Callbacks: workflow types of the caller's own, run as child workflows."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from models.base import Payload, Request

# Temporal keeps names below /_sys/ to itself and refuses the whole task that mentions one.
_Name = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=200, pattern=r"^([^/\x00-\x1f]|/[^_])[^\x00-\x1f]*$"
    ),
]


class CallbackKind(StrEnum):
    """Events a caller can be told about."""

    ON_EMAIL_FETCH = "on_email_fetch"
    ON_FETCH_COMPLETE = "on_fetch_complete"
    ON_FETCH_ERROR = "on_fetch_error"


class PayloadProtection(StrEnum):
    """How the input of a callback is written into the history.

    ``plain`` is for callback workers without our codec; the envelope of each mail is then readable
    in the history.
    """

    ENCRYPTED = "encrypted"
    PLAIN = "plain"


class CallbackSpec(Request):
    """A workflow to run for an event. It takes one JSON object and is acknowledged by completing.

    A queue without a worker, a hanging or a failing workflow ends after
    ``execution_timeout_seconds`` (all attempts together) in ``on_fetch_error``.
    """

    workflow: _Name
    task_queue: _Name
    payloads: PayloadProtection = PayloadProtection.ENCRYPTED
    execution_timeout_seconds: int = Field(default=3600, ge=1, le=30 * 24 * 3600)
    max_attempts: int = Field(default=3, ge=1, le=100)
    retry_interval_seconds: float = Field(default=1.0, gt=0, le=3600)


class CallbackStateInput(Payload):
    """Input of ``callbacks.read_state``."""

    workflow_id: str


class CallbackState(Payload):
    """Result of ``callbacks.read_state``."""

    completed: bool
