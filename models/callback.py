"""Callbacks: workflow types of the caller's own, run as child workflows, or webhooks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints

from models.base import Payload, Request
from models.web import WebUrl

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
    ON_EMAIL_SENT = "on_email_sent"
    ON_SEND_FAILED = "on_send_failed"


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
    ``execution_timeout_seconds`` (all attempts together): a retrieval then fails and runs
    ``on_fetch_error``, a mail that is sent keeps its result, which names the callback.
    """

    workflow: _Name
    task_queue: _Name
    payloads: PayloadProtection = PayloadProtection.ENCRYPTED
    execution_timeout_seconds: int = Field(default=3600, ge=1, le=30 * 24 * 3600)
    max_attempts: int = Field(default=3, ge=1, le=100)
    retry_interval_seconds: float = Field(default=1.0, gt=0, le=3600)


class WebhookSpec(Request):
    """A URL to post an event to. It is acknowledged by a 2xx reply.

    Other replies, errors and silence are tried again after ``retry_interval_seconds``, then after
    twice that time, and so on up to an hour, unless the receiver's ``Retry-After`` says when. After
    ``max_attempts`` or ``give_up_after_seconds``, or at once when trying again cannot help, the
    event is a dead letter.
    """

    webhook: WebUrl
    max_attempts: int = Field(default=30, ge=1, le=100)
    give_up_after_seconds: int = Field(default=24 * 3600, ge=1, le=30 * 24 * 3600)
    retry_interval_seconds: float = Field(default=5.0, gt=0, le=3600)


def _by_field(value: Any) -> Any:
    """Let the field that is given decide which kind it is, so that an error names its fields."""
    if isinstance(value, CallbackSpec | WebhookSpec) or value is None:
        return value
    if not isinstance(value, dict) or "webhook" not in value:
        return CallbackSpec.model_validate(value)
    for name in ("workflow", "task_queue", "payloads"):
        if name in value:
            raise ValueError(f"{name}: give a workflow with its task_queue, or a webhook, not both")
    return WebhookSpec.model_validate(value)


Callback = Annotated[CallbackSpec | WebhookSpec, BeforeValidator(_by_field)]
"""A workflow of the caller's own, or a webhook: the field ``workflow`` or ``webhook`` decides."""


class SendCallbacks(Payload):
    """Who is told of the outcome of a mail."""

    on_email_sent: Callback | None = None
    on_send_failed: Callback | None = None


class CallbackStateInput(Payload):
    """Input of ``callbacks.read_state``."""

    workflow_id: str


class CallbackState(Payload):
    """Result of ``callbacks.read_state``."""

    completed: bool
