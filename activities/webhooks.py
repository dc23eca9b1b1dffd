"""Delivery of webhooks, step by step.

open_delivery ─► attempt_delivery ─► (wait) ─► attempt_delivery ─► … ─► close_delivery
  bytes stored     one request, written down before and after             if nobody answered 2xx
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

from pydantic import JsonValue
from temporalio import activity

from activities.crypto.webhook_signature import signed_headers
from activities.heartbeat import blocking_heartbeats, heartbeats
from activities.ports import Runs, RunState, WebPoster, WebReply
from activities.replication.results import batch_result
from activities.store import mailboxes
from activities.store.committer import Committer
from activities.store.engine import Database
from activities.store.webhooks import Posting, Webhooks, find
from models.errors import ConnectorError, ErrorType
from models.failure import Failure
from models.ids import parts_of_chain
from models.names import ActivityName
from models.settings import Settings
from models.webhook import (
    CloseWebhookInput,
    OpenWebhookInput,
    WebhookAttemptInput,
    WebhookAttemptResult,
    WebhookClosed,
    WebhookPlan,
    WebhookState,
)

_COME_AGAIN = frozenset({408, 425, 429})
"""Client errors (RFC 9110 §15.5.9, RFC 8470, RFC 6585) after which the same request may succeed."""


class WebhookActivities:
    """Activities of ``DeliverWebhook``."""

    def __init__(
        self,
        database: Database,
        committer: Committer,
        webhooks: Webhooks,
        poster: WebPoster,
        runs: Runs,
        settings: Settings,
    ) -> None:
        self._database = database
        self._committer = committer
        self._webhooks = webhooks
        self._poster = poster
        self._runs = runs
        self._settings = settings

    @activity.defn(name=ActivityName.OPEN_WEBHOOK, no_thread_cancel_exception=True)
    def open_webhook(self, request: OpenWebhookInput) -> WebhookPlan:
        """Store the event with the bytes that every attempt posts."""
        with blocking_heartbeats():
            self._check_nobody_else(request)
            data = self._data(request)
            with self._database.write() as session:
                row = (
                    self._webhooks.take_again(session, request)
                    if data is None
                    else self._webhooks.add(session, request, data)
                )
                delivered = row.state == WebhookState.DELIVERED
        settings = self._settings
        return WebhookPlan(
            webhook_id=request.webhook_id,
            delivered=delivered,
            heartbeat_timeout_seconds=settings.heartbeat_timeout_seconds,
            attempt_seconds=settings.webhook_timeout_seconds,
            retry_jitter=settings.retry_jitter,
            max_retry_delay_seconds=settings.max_retry_delay_seconds,
        )

    @activity.defn(name=ActivityName.ATTEMPT_WEBHOOK)
    async def attempt_webhook(self, request: WebhookAttemptInput) -> WebhookAttemptResult:
        """One request. What went wrong is a result: the workflow knows what to do about it."""
        async with heartbeats():
            posting = await self._committer.commit(
                lambda s: self._webhooks.begin(s, request.webhook_id, request.driver)
            )
            if posting is None:
                return WebhookAttemptResult()
            began = time.monotonic()
            reply, error = await self._post(request.webhook_id, posting)
            duration = timedelta(seconds=time.monotonic() - began)
            status = reply.status if reply else None
            # Told to stop just now: what the receiver has said is written down first.
            await asyncio.shield(
                self._committer.commit(
                    lambda s: self._webhooks.end(s, posting.attempt_id, duration, status, error)
                )
            )
        return WebhookAttemptResult(status_code=status, error=error)

    @activity.defn(name=ActivityName.CLOSE_WEBHOOK, no_thread_cancel_exception=True)
    def close_webhook(self, request: CloseWebhookInput) -> WebhookClosed:
        """Give the event up: a dead letter, or cancelled."""
        with blocking_heartbeats(), self._database.write() as session:
            state = self._webhooks.close(
                session, request.webhook_id, request.driver, request.state, request.error
            )
        return WebhookClosed(state=state)

    async def _post(
        self, webhook_id: str, posting: Posting
    ) -> tuple[WebReply | None, Failure | None]:
        now = int(datetime.now(UTC).timestamp())
        headers = signed_headers(posting.secrets, webhook_id, now, posting.body)
        patience = timedelta(seconds=self._settings.webhook_timeout_seconds)
        try:
            reply = await self._poster.post(
                posting.url,
                posting.body,
                {"Content-Type": "application/json", **headers},
                patience,
            )
        except ConnectorError as error:
            field = None if error.temporary else "webhook"
            return None, Failure.of(error).model_copy(update={"field": field})
        return reply, _judged(reply)

    def _check_nobody_else(self, request: OpenWebhookInput) -> None:
        with self._database.read() as session:
            row = find(session, request.webhook_id)
        if row is None or row.state != WebhookState.PENDING or row.driver == request.driver:
            return
        workflow_id, first_run_id = parts_of_chain(row.driver)
        if self._runs.state(workflow_id, first_run_id) is RunState.RUNNING:
            raise ConnectorError(
                ErrorType.LEASE_LOST,
                f"workflow {workflow_id} is delivering this event; wait for it or cancel it",
            )

    def _data(self, request: OpenWebhookInput) -> dict[str, JsonValue] | None:
        """The event's data; None when it is to be posted as it was before."""
        asked = request.request
        if asked.redeliver is not None:
            return None
        if asked.batch_id is None:
            return asked.data or {}
        with self._database.read() as session:
            batch = mailboxes.batch(session, asked.batch_id)
            if batch is None:
                raise ConnectorError(
                    ErrorType.INVALID_INPUT, "there is no batch with this id", field="batch_id"
                )
            plan = mailboxes.retrieval(session, batch.retrieval_id)
            return batch_result(session, plan, batch.id).batch.model_dump(mode="json")


def _judged(reply: WebReply) -> Failure | None:
    """What a reply means; None: the receiver has taken the event over."""
    status = reply.status
    if 200 <= status < 300:
        return None
    if status >= 500 or status in _COME_AGAIN:
        kind, what = ErrorType.SERVER_UNAVAILABLE, "asks to come back later"
    else:
        kind, what = ErrorType.SERVER_REFUSED, "refuses the event"
    return Failure.of(
        ConnectorError(
            kind,
            f"the receiver {what} (HTTP status {status})",
            retry_after=reply.retry_after,
            detail={"code": status},
        )
    )
