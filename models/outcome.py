"""What a caller is told about a mail that has been settled: ``on_email_sent``, ``on_send_failed``.

Ids, addresses of the envelope, states and codes. What a server said stays in the ledger: it may
repeat parts of the mail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Self

from pydantic import Field

from models.base import Payload, Reference, Request, UtcDatetime
from models.callback import Callback, CallbackKind, SendCallbacks
from models.delivery import (
    DeliveryReport,
    MessageStatus,
    RecipientKind,
    RecipientResult,
    RecipientState,
)
from models.failure import Failure

MAX_RECIPIENTS = 100
"""An event is posted in one request of at most 64 KB."""

_GOOD = frozenset({MessageStatus.SENT, MessageStatus.PARTIALLY_SENT})
_BAD = frozenset({MessageStatus.FAILED, MessageStatus.PARTIALLY_SENT, MessageStatus.UNKNOWN})


class RecipientOutcome(Payload):
    """What became of one recipient; its server's code (RFC 5321, RFC 3463) without its words."""

    address: str
    kind: RecipientKind
    state: RecipientState
    code: int | None = None
    enhanced_code: str | None = None


class SendOutcome(Payload):
    """A mail that has been settled.

    ``recipients`` holds at most 100, those that were not sent to first; ``counts`` says how many
    there are in each state.
    """

    message_id: str
    internet_message_id: str
    account_id: str
    status: MessageStatus
    recipients: list[RecipientOutcome]
    counts: dict[RecipientState, int]
    attempts: int
    sent_at: UtcDatetime | None = None

    @classmethod
    def of(
        cls,
        report: DeliveryReport,
        *,
        message_id: str,
        internet_message_id: str,
        account_id: str,
        error: Failure | None = None,
    ) -> Self:
        """Return the event about what stands in the ledger."""
        values = {
            "message_id": message_id,
            "internet_message_id": internet_message_id,
            "account_id": account_id,
            "status": report.status,
            "recipients": _shown(report.recipients),
            "counts": dict(Counter(r.state for r in report.recipients)),
            "attempts": report.attempts,
            "sent_at": report.sent_at,
            "error": error,
        }
        return cls.model_validate({n: v for n, v in values.items() if n in cls.model_fields})


class EmailSent(SendOutcome):
    """Input of ``on_email_sent``: a server took the mail for at least one recipient."""


class SendFailed(SendOutcome):
    """Input of ``on_send_failed``: at least one recipient was refused, or is ``unknown``.

    A mail whose status is ``unknown`` may have arrived; nothing is tried again before somebody
    decides.
    """

    error: Failure | None = None


class NotifySendOutcomeInput(Request):
    """Input of ``NotifySendOutcome``: a settled mail, by its id."""

    message_id: Reference


class NotifySendOutcomeResult(Payload):
    """Result of ``NotifySendOutcome``."""

    message_id: str
    status: MessageStatus
    callbacks_failed: list[CallbackKind] = Field(default_factory=list)


class StoredOutcome(Payload):
    """Result of ``callbacks.read_outcome``: what stands in the ledger, and who is to be told."""

    message_id: str
    internet_message_id: str
    account_id: str
    report: DeliveryReport
    callbacks: SendCallbacks


class CallbackFailureInput(Payload):
    """Input of ``callbacks.record_failure``."""

    kind: CallbackKind
    account_id: str
    message_id: str


def due(callbacks: SendCallbacks, status: MessageStatus) -> list[tuple[CallbackKind, Callback]]:
    """Return what is to be run for this outcome: both for a mail that was partially sent."""
    named = (
        (CallbackKind.ON_EMAIL_SENT, callbacks.on_email_sent, _GOOD),
        (CallbackKind.ON_SEND_FAILED, callbacks.on_send_failed, _BAD),
    )
    return [(kind, spec) for kind, spec, statuses in named if spec and status in statuses]


def _shown(recipients: Sequence[RecipientResult]) -> list[RecipientOutcome]:
    """The recipients as they are told; when there are too many, those that need a look."""
    chosen = list(recipients)
    if len(chosen) > MAX_RECIPIENTS:
        chosen.sort(key=lambda r: r.state is RecipientState.SENT)
    return [
        RecipientOutcome(
            address=r.address,
            kind=r.kind,
            state=r.state,
            code=r.code,
            enhanced_code=r.enhanced_code,
        )
        for r in chosen[:MAX_RECIPIENTS]
    ]
