"""Webhooks in the store: events with the bytes that are posted, their attempts, the keys."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from pydantic import JsonValue, SecretStr
from pydantic_core import to_json
from sqlalchemy import select as columns
from sqlmodel import Session, col, select

from activities.crypto.secretbox import SecretBox
from activities.crypto.webhook_signature import secret_for
from activities.store.insertion import insert_missing
from activities.store.log import record
from models.errors import ConnectorError, ErrorType
from models.failure import Failure
from models.tables import AccountRow, WebhookAttempt, WebhookDelivery, WebhookKey
from models.web import parse_url
from models.webhook import OpenWebhookInput, WebhookEvent, WebhookState, WebhookSummary


@dataclass(frozen=True, slots=True)
class Posting:
    """What one attempt sends, and where."""

    attempt_id: str
    url: str
    body: bytes
    secrets: tuple[str, ...]


class Webhooks:
    """The webhooks.

    Args:
        box: Seals URLs and keys.
    """

    def __init__(self, box: SecretBox) -> None:
        self._box = box

    # --- An event ---------------------------------------------------------------------------------

    def add(
        self, session: Session, request: OpenWebhookInput, data: dict[str, JsonValue]
    ) -> WebhookDelivery:
        """Write an event, or take up the one that has its id.

        Raises:
            ConnectorError: ``IdempotencyConflict`` when that one is another event.
        """
        asked = request.request
        event = WebhookEvent(
            id=request.webhook_id, type=asked.type or "", created_at=request.created_at, data=data
        )
        fresh = WebhookDelivery(
            id=request.webhook_id,
            account_id=_account_id(session, data),
            batch_id=asked.batch_id,
            type=event.type,
            origin=parse_url(asked.webhook).origin,
            url=self._box.seal(SecretStr(asked.webhook)),
            body=event.model_dump_json().encode(),
            request_hash=_request_hash(request),
            state=WebhookState.PENDING,
            driver=request.driver,
            created_at=request.created_at,
        )
        insert_missing(session, WebhookDelivery, [fresh.model_dump()])
        row = _locked(session, request.webhook_id)
        if row.request_hash != fresh.request_hash:
            raise ConnectorError(
                ErrorType.IDEMPOTENCY_CONFLICT,
                "this key was used for another event; use a new one",
                field="idempotency_key",
            )
        if row.state != WebhookState.DELIVERED:
            _drive(session, row, request.driver)
        return row

    def take_again(self, session: Session, request: OpenWebhookInput) -> WebhookDelivery:
        """Take up an event that is to be delivered again, to the URL of the request."""
        row = _locked(session, request.webhook_id)
        if row.driver == request.driver and row.state != WebhookState.DEAD:
            return row  # the step is being repeated
        row.origin = parse_url(request.request.webhook).origin
        row.url = self._box.seal(SecretStr(request.request.webhook))
        _drive(session, row, request.driver)
        record(session, "webhook_redelivery", account_id=row.account_id, webhook=row.id)
        return row

    def begin(self, session: Session, webhook_id: str, driver: str) -> Posting | None:
        """Write down that an attempt begins; returns what it sends, None when it was delivered."""
        row = _locked(session, webhook_id)
        _check_driver(row, driver)
        if row.state == WebhookState.DELIVERED:
            return None
        row.attempts += 1
        attempt = WebhookAttempt(
            id=str(uuid4()), webhook_id=row.id, origin=row.origin, started_at=datetime.now(UTC)
        )
        session.add(row)
        session.add(attempt)
        secrets = tuple(self.secrets(session, row.origin))
        return Posting(attempt.id, self.url(row), row.body, secrets)

    def end(
        self,
        session: Session,
        attempt_id: str,
        duration: timedelta,
        status_code: int | None,
        error: Failure | None,
    ) -> None:
        """Write down how an attempt ended; a 2xx reply delivers the event."""
        attempt = session.exec(select(WebhookAttempt).where(WebhookAttempt.id == attempt_id)).one()
        attempt.duration_ms = round(duration.total_seconds() * 1000)
        attempt.status_code = status_code
        attempt.error_type = error.type if error else None
        session.add(attempt)
        row = _locked(session, attempt.webhook_id)
        if row.state == WebhookState.DELIVERED:
            return
        row.error_type = attempt.error_type
        if error is None:
            # Also a late reply counts, whatever has been given up meanwhile.
            _end(session, row, WebhookState.DELIVERED, None)
        session.add(row)

    def close(
        self,
        session: Session,
        webhook_id: str,
        driver: str,
        state: WebhookState,
        error: Failure | None,
    ) -> WebhookState:
        """Give an event up; returns the state that stands. One that was delivered stays so."""
        row = _locked(session, webhook_id)
        if row.driver == driver and row.state == WebhookState.PENDING:
            _end(session, row, state, error)
        return WebhookState(row.state)

    # --- Reading ----------------------------------------------------------------------------------

    def get(self, session: Session, webhook_id: str) -> WebhookDelivery:
        """An event by id; raises ``WebhookNotFound``."""
        row = find(session, webhook_id)
        if row is None:
            raise _unknown()
        return row

    def url(self, row: WebhookDelivery) -> str:
        """Where an event is posted."""
        return self._box.open(row.url).get_secret_value()

    # --- Keys -------------------------------------------------------------------------------------

    def secrets(self, session: Session, origin: str) -> list[str]:
        """Secrets of the receiver at ``origin`` that count now, newest first."""
        keys = _keys(session)
        if not keys:
            # Who starts at the same moment makes one as well; the first one stands for both.
            fresh = {"number": 1, "sealed": self._new_key(), "created_at": datetime.now(UTC)}
            insert_missing(session, WebhookKey, [fresh | {"retires_at": None}])
            keys = _keys(session)
        return [
            secret_for(self._box.open(k.sealed).get_secret_value().encode(), origin) for k in keys
        ]

    def rotate(self, session: Session, keep: timedelta) -> datetime:
        """Make a new key; the old ones sign beside it until the moment that is returned."""
        now = datetime.now(UTC)
        rows = session.exec(
            select(WebhookKey).order_by(col(WebhookKey.number).desc()).with_for_update()
        ).all()
        for row in rows:
            row.retires_at = min(row.retires_at or now + keep, now + keep)
            session.add(row)
        number = rows[0].number + 1 if rows else 1
        session.add(WebhookKey(number=number, sealed=self._new_key(), created_at=now))
        record(session, "webhook_key_rotated", number=number)
        return now + keep

    def _new_key(self) -> bytes:
        return self._box.seal(SecretStr(os.urandom(32).hex()))


def find(session: Session, webhook_id: str) -> WebhookDelivery | None:
    """An event by id, if there is one."""
    return session.exec(
        select(WebhookDelivery).where(WebhookDelivery.id == webhook_id)
    ).one_or_none()


def recent(
    session: Session, *, state: WebhookState | None = None, limit: int = 50
) -> list[WebhookSummary]:
    """The newest events."""
    query = _SUMMARIES.order_by(col(WebhookDelivery.created_at).desc(), col(WebhookDelivery.id))
    if state is not None:
        query = query.where(col(WebhookDelivery.state) == state)
    rows = session.connection().execute(query.limit(limit))
    return [WebhookSummary.model_validate(dict(row._mapping)) for row in rows]


def summary(session: Session, webhook_id: str) -> WebhookSummary:
    """An event by id; raises ``WebhookNotFound``."""
    query = _SUMMARIES.where(col(WebhookDelivery.id) == webhook_id)
    row = session.connection().execute(query).one_or_none()
    if row is None:
        raise _unknown()
    return WebhookSummary.model_validate(dict(row._mapping))


def attempts(session: Session, webhook_id: str) -> Sequence[WebhookAttempt]:
    """The attempts of an event, oldest first."""
    return session.exec(
        select(WebhookAttempt)
        .where(WebhookAttempt.webhook_id == webhook_id)
        .order_by(col(WebhookAttempt.started_at))
    ).all()


# Columns, not entities: the bodies are not asked for.
_SUMMARIES = columns(*(getattr(WebhookDelivery, name) for name in WebhookSummary.model_fields))


def _keys(session: Session) -> Sequence[WebhookKey]:
    now = datetime.now(UTC)
    rows = session.exec(select(WebhookKey).order_by(col(WebhookKey.number).desc())).all()
    return [row for row in rows if row.retires_at is None or row.retires_at > now]


def _locked(session: Session, webhook_id: str) -> WebhookDelivery:
    row = session.exec(
        select(WebhookDelivery).where(WebhookDelivery.id == webhook_id).with_for_update()
    ).one_or_none()
    if row is None:
        raise _unknown()
    return row


def _drive(session: Session, row: WebhookDelivery, driver: str) -> None:
    row.driver, row.state, row.ended_at = driver, WebhookState.PENDING, None
    session.add(row)


def _check_driver(row: WebhookDelivery, driver: str) -> None:
    if row.driver != driver:
        raise ConnectorError(ErrorType.LEASE_LOST, "another workflow delivers this event now")


def _end(
    session: Session, row: WebhookDelivery, state: WebhookState, error: Failure | None
) -> None:
    row.state, row.ended_at = state, datetime.now(UTC)
    row.error_type = error.type if error else None
    session.add(row)
    record(
        session,
        f"webhook_{state}",
        account_id=row.account_id,
        error_type=error.type if error else None,
        webhook=row.id,
        batch=row.batch_id,
        attempts=row.attempts,
        explanation=error.explanation if error else None,
    )


def _account_id(session: Session, data: dict[str, JsonValue]) -> str | None:
    """The account an event of ours tells about: it is deleted along with it."""
    account_id = data.get("account_id")
    if not isinstance(account_id, str):
        return None
    return session.exec(select(AccountRow.id).where(AccountRow.id == account_id)).one_or_none()


def _request_hash(request: OpenWebhookInput) -> str:
    asked = request.request.model_dump(mode="json", include={"webhook", "type", "data", "batch_id"})
    return hashlib.sha256(to_json(sorted(asked.items()))).hexdigest()


def _unknown() -> ConnectorError:
    return ConnectorError(
        ErrorType.WEBHOOK_NOT_FOUND, "there is no webhook with this id", field="webhook_id"
    )
