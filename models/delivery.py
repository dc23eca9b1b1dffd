"""Sending: states, results and the messages between ``SendEmail`` and its activities."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from models.account import UnknownPolicy
from models.base import Payload, Reference, Request, UtcDatetime
from models.callback import Callback, CallbackKind, SendCallbacks
from models.failure import Failure
from models.message import EmailMessage


class MessageStatus(StrEnum):
    """State of a mail."""

    DRAFT = "draft"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    PARTIALLY_SENT = "partially_sent"
    FAILED = "failed"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"
    RECEIVED = "received"


class RecipientKind(StrEnum):
    """Header a recipient is named in; ``bcc`` stands in the envelope only."""

    TO = "to"
    CC = "cc"
    BCC = "bcc"


class RecipientState(StrEnum):
    """State of one recipient of a mail."""

    PENDING = "pending"
    DEFERRED = "deferred"
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


OPEN_STATES = frozenset({RecipientState.PENDING, RecipientState.DEFERRED})
"""States from which a recipient may be tried (again)."""


class SentCopy(StrEnum):
    """State of a mail's copy in the Sent folder; absent when none is due from us."""

    PENDING = "pending"
    FILED = "filed"
    FOUND = "found"
    """It was there already: the server, or an earlier try, has filed it."""
    FAILED = "failed"


class HeldReason(StrEnum):
    """Why a mail whose outcome is unknown waits for a person; else it is an error's type."""

    OPERATOR = "operator"
    NO_SENT_FOLDER = "no_sent_folder"
    """There is no Sent folder that can be looked at."""
    NOT_IN_SENT = "not_in_sent"
    """It is not there, which proves nothing with this provider."""
    SENT_PROVES_NOTHING = "sent_proves_nothing"
    """The Sent folder may hold it for another reason than the attempt in doubt, or should and does
    not.
    """


class Phase(StrEnum):
    """How far an SMTP transaction got, in order (RFC 5321 §3.3, §4.3.2)."""

    CONNECT = "connect"
    BANNER = "banner"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    DOT_INTENT = "dot_intent"
    DOT = "dot"
    REPLY = "reply"
    DONE = "done"


class RecipientResult(Payload):
    """What became of one recipient, with the server's last reply (RFC 3463 enhanced code)."""

    address: str
    kind: RecipientKind
    state: RecipientState
    code: int | None = None
    enhanced_code: str | None = None
    reply: str | None = None


class SendEmailInput(Request):
    """Input of ``SendEmail``: the account (id or name) and the mail."""

    account: Reference
    message: EmailMessage
    idempotency_key: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    unknown_policy: UnknownPolicy | None = None
    queued: bool = False
    """Put it into the queue, which ``SendQueuedEmails`` drains, and do not wait for it."""
    priority: int = Field(default=3, ge=1, le=5)
    """Queued mail with 1 goes first, with 5 last."""
    send_at: UtcDatetime | None = None
    """Not before."""
    expires_at: UtcDatetime | None = None
    """Not after: who is not reached until then is cancelled."""
    on_email_sent: Callback | None = None
    on_send_failed: Callback | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.send_at and self.expires_at and self.expires_at <= self.send_at:
            raise ValueError("expires_at: it has to be after send_at")
        return self


class SendEmailResult(Payload):
    """Result of ``SendEmail``. ``unknown`` is never hidden behind ``sent`` or ``failed``."""

    message_id: str
    internet_message_id: str
    status: MessageStatus
    recipients: list[RecipientResult]
    attempts: int
    sent_at: UtcDatetime | None = None
    error: Failure | None = None
    callbacks_failed: list[CallbackKind] = Field(default_factory=list)
    """Callbacks that nobody acknowledged; they change nothing about the mail."""
    sent_copy: SentCopy | None = None
    """The copy in the Sent folder; absent when none is due from us."""


class ComposeInput(Payload):
    """Input of ``sending.compose_message``."""

    message_id: str
    driver: str
    """Chain that asks to send it (``models.ids.chain_of``)."""
    date: UtcDatetime
    """Date of the mail; fixed by the workflow, so that a repeated step makes the same bytes."""
    account: str
    message: EmailMessage
    idempotency_key: str | None = None
    unknown_policy: UnknownPolicy | None = None
    callbacks: SendCallbacks | None = None
    queued: bool = False
    priority: int = 3
    send_at: UtcDatetime | None = None
    expires_at: UtcDatetime | None = None


class DeliveryReport(Payload):
    """What one attempt, or a take-over of a dead one, left behind."""

    status: MessageStatus
    recipients: list[RecipientResult]
    attempts: int
    epoch: int | None = None
    error: Failure | None = None
    retry_after_seconds: float | None = None
    sent_at: UtcDatetime | None = None
    sent_copy: SentCopy | None = None

    @property
    def open(self) -> bool:
        """Whether a recipient is left that may be tried again."""
        return any(r.state in OPEN_STATES for r in self.recipients)


class SendPlan(Payload):
    """What the workflow needs to send a composed mail: ids and times, no content.

    Times come from the settings of the worker that composed the mail, through the history, so that
    a replay sees the same ones.
    """

    message_id: str
    internet_message_id: str
    account_id: str
    delivery_id: str
    unknown_policy: UnknownPolicy
    max_attempts: int | None
    give_up_after_seconds: int
    first_attempt_at: UtcDatetime
    retry_delays_seconds: list[float]
    retry_jitter: float
    max_retry_delay_seconds: float
    heartbeat_timeout_seconds: float
    transmit_timeout_seconds: float
    epoch: int | None = None
    """Epoch of the delivery when it was composed or found."""
    driver: bool = True
    """False when another workflow is sending the mail with this idempotency key."""
    report: DeliveryReport | None = None
    """How a mail stands that the queue sends; then no workflow does."""
    send_at: UtcDatetime | None = None
    expires_at: UtcDatetime | None = None
    sent_copy: bool = False
    """Whether a copy in the Sent folder is due from us once it is sent."""


class TransmitInput(Payload):
    """Input of ``sending.transmit_delivery``."""

    delivery_id: str
    owner: str
    epoch: int | None = None
    """What the workflow knows of the ledger: a step that was frozen knows less, and must not act.
    None from a workflow of an older version.
    """


class TakeOverInput(Payload):
    """Input of ``sending.take_over_delivery``: label what a lost attempt left behind."""

    delivery_id: str
    owner: str
    resend_unknown: bool
    epoch: int | None = None
    """As in ``TransmitInput``."""


class WatchInput(Payload):
    """Input of ``sending.watch_delivery``."""

    message_id: str
    delivery_id: str
    driver: str


class WatchResult(Payload):
    """Result of ``sending.watch_delivery``: ``driver`` says that the mail is now ours to send."""

    report: DeliveryReport
    driver: bool


class SettleInput(Payload):
    """Input of ``sending.settle_delivery``: close what is still open and set the final status."""

    delivery_id: str
    cancelled: bool = False
    error: Failure | None = None


class FileSentCopiesInput(Payload):
    """Input of ``sending.file_sent_copies``: sent mails whose copies are due."""

    delivery_ids: list[str]
    give_up: bool = False
    """Ask no mailbox: copies that are still pending have failed."""


class FileSentCopiesResult(Payload):
    """Result of ``sending.file_sent_copies``: how each copy stands; absent = none is due."""

    copies: dict[str, SentCopy]


class VerifyInput(Payload):
    """Input of ``sending.verify_delivery``: look an unknown outcome up in the Sent folder."""

    delivery_id: str


class VerifyResult(Payload):
    """Result of ``sending.verify_delivery``."""

    report: DeliveryReport
    look_again_seconds: float | None = None
    """It is not there yet, and may still come: ask again after this time."""
    held_reason: str | None = None
    """Nothing is tried until a person acts: a ``HeldReason`` or an error's type."""
