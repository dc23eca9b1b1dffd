"""Subscriptions: a folder is listened to, and what arrives in it is retrieved (RFC 2177)."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from models.base import Payload, UtcDatetime
from models.errors import ErrorType
from models.ids import derived_id
from models.mailbox import RetrieveEmailMessagesInput


class SubscribeForEmailNotificationInput(RetrieveEmailMessagesInput):
    """Input of ``SubscribeForEmailNotification``: how mail that arrives is retrieved.

    ``while_flagged`` ends the subscription when the account no longer has ``retrieval.subscribe``.
    """

    while_flagged: bool = False

    @model_validator(mode="after")
    def _retrieves(self) -> Self:
        if self.rewind is not None:
            raise ValueError("rewind: a subscription retrieves what arrives; leave it out")
        return self


class ListenerState(StrEnum):
    """How the connection of a subscription stands."""

    CONNECTING = "connecting"
    IDLE = "idle"
    POLLING = "polling"
    """The server has no IDLE, or refuses it: the folder is looked at again and again."""
    WAITING = "waiting"
    """The server cannot be reached; it is tried again soon."""
    PARKED = "parked"
    """A person has to change something; it is tried again then, and every hour."""
    STOPPED = "stopped"


class EndReason(StrEnum):
    """Why a subscription is over."""

    STOPPED = "stopped"
    ATTACHED = "attached"
    """Another run listens to this folder already."""
    ACCOUNT_GONE = "account_gone"
    NOT_FLAGGED = "not_flagged"


class FolderMark(Payload):
    """How far a folder was filled: its UIDVALIDITY and UIDNEXT (RFC 9051 §2.3.1.1)."""

    uid_validity: int
    uid_next: int


class ListenerNews(Payload):
    """What a listener tells its subscription, as the signal ``noticed``.

    ``mark`` comes with each new connection: what arrived while there was none is looked for then.
    """

    state: ListenerState
    at: UtcDatetime
    proven_at: UtcDatetime | None = None
    error_type: ErrorType | None = None
    arrived: int = 0
    mark: FolderMark | None = None
    number_of_emails: int | None = None
    """Mails that a retrieval takes at most, as the account says; None = all."""


class ListenerSign(Payload):
    """A listener's heartbeat: how it stands between two pieces of news."""

    state: ListenerState
    proven_at: UtcDatetime | None = None
    error_type: ErrorType | None = None


class SubscriptionStatus(Payload):
    """Answer of the query ``status``.

    ``proven_at`` is when the server last answered as far as the run has been told; the listener
    tells at changes only, so it may be an hour old (``subscription status`` asks the listener).
    """

    account_id: str | None = None
    folder: str | None = None
    state: ListenerState = ListenerState.CONNECTING
    since: UtcDatetime | None = None
    proven_at: UtcDatetime | None = None
    error_type: ErrorType | None = None
    """The last error of the connection; None while it stands."""
    arrived: int = 0
    """Mails noticed so far."""
    retrievals: int = 0
    last_retrieval_at: UtcDatetime | None = None
    retrieval_error_type: ErrorType | None = None
    """Why the last retrieval failed; it is tried again."""


class OpenSubscriptionInput(Payload):
    """Input of ``subscriptions.open``."""

    workflow_id: str
    request: SubscribeForEmailNotificationInput


class SubscriptionPlan(Payload):
    """What a run listens to. ``workflow_id`` is the one run that listens to this folder."""

    account_id: str
    folder: str
    workflow_id: str
    heartbeat_timeout_seconds: float
    renew_seconds: float


class SubscriptionRun(SubscribeForEmailNotificationInput):
    """What the workflow carries over continue-as-new; clients leave the fields out."""

    plan: SubscriptionPlan | None = None
    status: SubscriptionStatus | None = None
    mark: FolderMark | None = None
    number_of_emails_of_account: int | None = None
    missed: int = 0


class ListenInput(Payload):
    """Input of ``subscriptions.listen``."""

    account_id: str
    folder: str
    workflow_id: str
    first_run_id: str
    while_flagged: bool = False
    renew_seconds: float


class ListenResult(Payload):
    """Result of ``subscriptions.listen``; without a reason the listener is to be started anew."""

    ended: EndReason | None = None


class SubscribeForEmailNotificationResult(Payload):
    """Result of ``SubscribeForEmailNotification``; ``workflow_id`` listens, or did."""

    workflow_id: str
    account_id: str
    folder: str
    ended: EndReason
    retrievals: int = Field(default=0)


def terms_of(request: SubscribeForEmailNotificationInput, account_id: str) -> str:
    """Return a digest of the terms of a subscription: two that differ are not one.

    Whether the flag or a person started it is no matter, nor by which name the account is called.
    """
    plain = SubscribeForEmailNotificationInput.model_validate(
        {name: getattr(request, name) for name in SubscribeForEmailNotificationInput.model_fields}
    ).model_copy(update={"account": account_id, "while_flagged": False})
    return derived_id("terms", plain.model_dump_json(exclude={"folder"}))
