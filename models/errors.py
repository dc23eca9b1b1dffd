"""Error types of the contract, each permanent or temporary by its type, never by its text.

    ConnectorError
    ├── permanent: trying again cannot help; somebody has to change something
    └── temporary: the same request may succeed later; ``retry_after`` may say when

Adapters raise ``ConnectorError``; one interceptor (``activities.errors``) turns it into Temporal's
``ApplicationError`` with the same type, so that workflows branch on ``ErrorType`` alone.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

MAX_MESSAGE_CHARS = 1000


class ErrorType(StrEnum):
    """Type of a failure as it appears in Temporal and in logs. Documented in docs/errors.md."""

    # The request
    INVALID_INPUT = "InvalidInput"
    UNKNOWN_WORKFLOW_TYPE = "UnknownWorkflowType"
    PAYLOAD_UNREADABLE = "PayloadUnreadable"
    IDEMPOTENCY_CONFLICT = "IdempotencyConflict"
    MESSAGE_TOO_LARGE = "MessageTooLarge"
    # Records
    ACCOUNT_NOT_FOUND = "AccountNotFound"
    ACCOUNT_INCOMPLETE = "AccountIncomplete"
    MESSAGE_NOT_FOUND = "MessageNotFound"
    CONTENT_NOT_FOUND = "ContentNotFound"
    CONTENT_DAMAGED = "ContentDamaged"
    SECRET_UNREADABLE = "SecretUnreadable"  # noqa: S105 - a name, not a secret
    # Reaching a server
    HOST_NOT_FOUND = "HostNotFound"
    CONNECTION_FAILED = "ConnectionFailed"
    CONNECTION_TIMED_OUT = "ConnectionTimedOut"
    CONNECTION_LOST = "ConnectionLost"
    TLS_UNAVAILABLE = "TlsUnavailable"
    CERTIFICATE_REJECTED = "CertificateRejected"
    CREDENTIALS_REJECTED = "CredentialsRejected"
    SERVER_UNAVAILABLE = "ServerUnavailable"
    PROTOCOL_VIOLATION = "ProtocolViolation"
    SERVER_REFUSED = "ServerRefused"
    CAPABILITY_MISSING = "CapabilityMissing"
    # Sending
    SENDER_REFUSED = "SenderRefused"
    LEASE_LOST = "LeaseLost"
    STATE_CONFLICT = "StateConflict"
    EXPIRED = "Expired"
    CONNECTION_LIMIT = "ConnectionLimit"
    SLOWED_DOWN = "SlowedDown"
    # Mailboxes
    FOLDER_NOT_FOUND = "FolderNotFound"
    MAILBOX_BUSY = "MailboxBusy"
    UID_VALIDITY_CHANGED = "UidValidityChanged"
    # Callbacks
    CALLBACK_FAILED = "CallbackFailed"
    # Webhooks and other requests to the web
    EGRESS_REFUSED = "EgressRefused"
    REDIRECT_REFUSED = "RedirectRefused"
    WEBHOOK_NOT_FOUND = "WebhookNotFound"
    # Our own store
    STORE_UNAVAILABLE = "StoreUnavailable"
    # Temporal
    SEARCH_ATTRIBUTES_UNUSABLE = "SearchAttributesUnusable"
    INTERNAL = "InternalError"


TEMPORARY: frozenset[ErrorType] = frozenset(
    {
        ErrorType.HOST_NOT_FOUND,
        ErrorType.CONNECTION_FAILED,
        ErrorType.CONNECTION_TIMED_OUT,
        ErrorType.CONNECTION_LOST,
        ErrorType.SERVER_UNAVAILABLE,
        ErrorType.PROTOCOL_VIOLATION,
        ErrorType.CONNECTION_LIMIT,
        ErrorType.SLOWED_DOWN,
        ErrorType.MAILBOX_BUSY,
        ErrorType.STORE_UNAVAILABLE,
    }
)
"""Types for which the same request may succeed later. All others are permanent."""

UNTRIED: frozenset[ErrorType] = frozenset({ErrorType.CONNECTION_LIMIT, ErrorType.SLOWED_DOWN})
"""Types that say that nothing was tried: no server was asked, and no attempt counts."""

PERMANENT: tuple[str, ...] = tuple(sorted(t.value for t in ErrorType if t not in TEMPORARY))
"""Type names for ``RetryPolicy.non_retryable_error_types`` (Temporal compares exact names)."""


_BY_NAME = {t.value: t for t in ErrorType}


def known_type(name: str | None) -> ErrorType | None:
    """Return the type of the contract with this name, if there is one."""
    return _BY_NAME.get(name or "")


class ConnectorError(Exception):
    """A failure with a type of the contract, safe to show to the caller.

    Args:
        type: What went wrong.
        message: One or two sentences that say what to do. Never a secret, never mail content;
            cut to 1,000 characters.
        field: Dotted path of the offending input field, when there is one.
        retry_after: The server's hint when to come back.
        detail: Machine-readable facts (reply code, phase), ids and numbers only.
        explanation: ``message`` in our own words alone, where it quotes a peer's: a server may
            repeat parts of a mail, and what is kept in the error log must not.
    """

    def __init__(
        self,
        type: ErrorType,
        message: str,
        *,
        field: str | None = None,
        retry_after: timedelta | None = None,
        detail: dict[str, str | int | None] | None = None,
        explanation: str | None = None,
    ) -> None:
        self.type = type
        self.message = bounded(message)
        self.explanation = bounded(explanation) if explanation else self.message
        self.field = field
        self.retry_after = retry_after
        self.detail = detail or {}
        super().__init__(f"{field}: {self.message}" if field else self.message)

    @property
    def temporary(self) -> bool:
        """Whether the same request may succeed later."""
        return self.type in TEMPORARY


def bounded(text: str, limit: int = MAX_MESSAGE_CHARS) -> str:
    """Return ``text`` as printable characters on one line, at most ``limit`` of them.

    A peer's reply can be an HTML page or hold control characters; neither may reach a failure.
    """
    line = "".join(c if c.isprintable() else " " for c in text[: limit * 4])
    line = " ".join(line.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
