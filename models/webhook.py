"""Webhooks: events that are posted to a URL, signed (Standard Webhooks), until it answers 2xx."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, JsonValue, StringConstraints, model_validator
from pydantic_core import to_json

from models.base import Payload, Reference, UtcDatetime
from models.callback import WebhookSpec
from models.failure import Failure

MAX_DATA_BYTES = 64 * 1024
"""Of an event's data as JSON; it travels in one payload."""


def _bounded(data: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if len(to_json(data)) > MAX_DATA_BYTES:
        raise ValueError(f"an event has at most {MAX_DATA_BYTES} bytes of data as JSON")
    return data


class WebhookState(StrEnum):
    """How far an event got. A dead letter is the end of the policy, not of the event."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


class DeliverWebhookInput(WebhookSpec):
    """Input of ``DeliverWebhook``: an event, by its type and data.

    Two other ways to name one, instead of ``type`` and ``data``: ``batch_id``, a stored batch of
    mails (what ``on_email_fetch`` posts; the mails' envelopes then stand in no history of ours),
    and ``redeliver``, the id of an event that was posted before and goes out as the same bytes.
    """

    type: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-]{1,64}$")] | None = None
    data: Annotated[dict[str, JsonValue], AfterValidator(_bounded)] | None = None
    batch_id: Reference | None = None
    redeliver: Reference | None = None
    idempotency_key: (
        Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")]
        | None
    ) = None
    """The same key is the same event under the same id; default: each workflow is one."""

    @model_validator(mode="after")
    def _one_event(self) -> Self:
        given = [n for n in ("data", "batch_id", "redeliver") if getattr(self, n) is not None]
        if len(given) != 1:
            field = given[1] if given else "data"
            raise ValueError(f"{field}: give one of data, batch_id, redeliver")
        if self.redeliver is None and self.type is None:
            raise ValueError("type: an event needs a type, for example order.created")
        for name in ("type", "idempotency_key"):
            if self.redeliver is not None and getattr(self, name) is not None:
                raise ValueError(f"{name}: an event that is delivered again keeps its own")
        return self


class WebhookEvent(Payload):
    """The body of a webhook request. The same event always has the same id and the same bytes."""

    id: str
    type: str
    created_at: UtcDatetime
    data: dict[str, Any]


class DeliverWebhookResult(Payload):
    """Result of ``DeliverWebhook``: the receiver answered 2xx.

    ``status_code`` is None when an earlier workflow had delivered the event already; ``attempts``
    are those of this workflow.
    """

    webhook_id: str
    status_code: int | None
    attempts: int


class WebhookSummary(Payload):
    """An event as commands show it: what it says, and the path of its URL, stay in the store."""

    id: str
    type: str
    state: WebhookState
    origin: str
    attempts: int
    error_type: str | None
    account_id: str | None
    batch_id: str | None
    driver: str
    created_at: UtcDatetime
    ended_at: UtcDatetime | None


class OpenWebhookInput(Payload):
    """Input of ``webhooks.open_delivery``."""

    webhook_id: str
    driver: str
    created_at: UtcDatetime
    request: DeliverWebhookInput


class WebhookPlan(Payload):
    """What a workflow needs to know to deliver; numbers are seconds."""

    webhook_id: str
    delivered: bool = False
    heartbeat_timeout_seconds: float
    attempt_seconds: float
    retry_jitter: float
    max_retry_delay_seconds: float


class WebhookAttemptInput(Payload):
    """Input of ``webhooks.attempt_delivery``; ``driver`` is the workflow chain."""

    webhook_id: str
    driver: str


class WebhookAttemptResult(Payload):
    """Result of ``webhooks.attempt_delivery``: the receiver's 2xx, or what was wrong."""

    status_code: int | None = None
    error: Failure | None = None


class CloseWebhookInput(Payload):
    """Input of ``webhooks.close_delivery``."""

    webhook_id: str
    driver: str
    state: WebhookState
    error: Failure | None = None


class WebhookClosed(Payload):
    """Result of ``webhooks.close_delivery``: the state that stands."""

    state: WebhookState
