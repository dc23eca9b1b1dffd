"""What each error type means and what to do about it; docs/errors.md says the same."""

from __future__ import annotations

from dataclasses import dataclass

from models.errors import ErrorType


@dataclass(frozen=True, slots=True)
class Advice:
    """Two half-sentences for a person."""

    meaning: str
    remedy: str


ADVICE: dict[ErrorType, Advice] = {
    ErrorType.INVALID_INPUT: Advice(
        "a field is missing, mistyped or not allowed",
        "correct the field it names",
    ),
    ErrorType.UNKNOWN_WORKFLOW_TYPE: Advice(
        "there is no workflow type of this name",
        "use one that the message lists",
    ),
    ErrorType.PAYLOAD_UNREADABLE: Advice(
        "the input is not JSON, or encrypted with a key this worker lacks",
        "send plain JSON, or give the worker the key",
    ),
    ErrorType.IDEMPOTENCY_CONFLICT: Advice(
        "the key was used for a mail with other content",
        "use a new key",
    ),
    ErrorType.MESSAGE_TOO_LARGE: Advice(
        "the mail is larger than the server or a payload allows",
        "make it smaller, or store attachments first (`content_ref`)",
    ),
    ErrorType.ACCOUNT_NOT_FOUND: Advice(
        "no account has this id or name",
        "`account list`",
    ),
    ErrorType.ACCOUNT_INCOMPLETE: Advice(
        "the account lacks a server or a password",
        "`account edit`",
    ),
    ErrorType.MESSAGE_NOT_FOUND: Advice(
        "no stored mail has this id",
        "check the id",
    ),
    ErrorType.CONTENT_NOT_FOUND: Advice(
        "no content has this key, or the link expired",
        "ask for a new link",
    ),
    ErrorType.CONTENT_DAMAGED: Advice(
        "stored content does not match its hash",
        "restore it from a backup",
    ),
    ErrorType.SECRET_UNREADABLE: Advice(
        "a stored secret was sealed with a key that is gone",
        "give the key back, or enter the secret again",
    ),
    ErrorType.HOST_NOT_FOUND: Advice(
        "the host name does not resolve",
        "check the name; it is tried again",
    ),
    ErrorType.CONNECTION_FAILED: Advice(
        "nobody listens at host and port",
        "check host, port, firewall",
    ),
    ErrorType.CONNECTION_TIMED_OUT: Advice(
        "the server did not answer in the account's time",
        "check the server, raise the timeout",
    ),
    ErrorType.CONNECTION_LOST: Advice(
        "the connection broke",
        "it is tried again",
    ),
    ErrorType.TLS_UNAVAILABLE: Advice(
        "STARTTLS was asked for and is not offered",
        "use `tls`, or correct the port",
    ),
    ErrorType.CERTIFICATE_REJECTED: Advice(
        "the certificate is not trusted or names another host",
        "correct host or trust (`EMAIL_CONNECTOR_CA_FILE`)",
    ),
    ErrorType.CREDENTIALS_REJECTED: Advice(
        "the server refused the login",
        "correct user and password, or use OAuth",
    ),
    ErrorType.SERVER_UNAVAILABLE: Advice(
        "the server asked to come back later (4xx, limits; of a webhook: 5xx, 408, 425, 429)",
        "it is tried again",
    ),
    ErrorType.PROTOCOL_VIOLATION: Advice(
        "the server said something that is not the protocol",
        "check what listens there",
    ),
    ErrorType.SERVER_REFUSED: Advice(
        "the server refused a command for good (5xx), a webhook's receiver the event (4xx)",
        "read its reply",
    ),
    ErrorType.CAPABILITY_MISSING: Advice(
        "the server lacks an extension that is needed",
        "choose another option or server",
    ),
    ErrorType.SENDER_REFUSED: Advice(
        "the server refuses the sender's address",
        "correct the from address",
    ),
    ErrorType.LEASE_LOST: Advice(
        "another worker or run has taken over",
        "nothing: it does the work",
    ),
    ErrorType.STATE_CONFLICT: Advice(
        "the mail is in a state that does not allow this",
        "do what the message says; `log show` tells the state",
    ),
    ErrorType.EXPIRED: Advice(
        "the mail was not sent before its `expires_at`; nothing was sent after it",
        "queue it again if it is still wanted",
    ),
    ErrorType.CONNECTION_LIMIT: Advice(
        "all connections that the account or its server may have are in use",
        "nothing, it is tried again and counts as no attempt; more of them: "
        "`account edit --max-connections`",
    ),
    ErrorType.SLOWED_DOWN: Advice(
        "the server asked us to send more slowly",
        "nothing: sending goes on after the pause, which counts as no attempt",
    ),
    ErrorType.FOLDER_NOT_FOUND: Advice(
        "the folder does not exist on the server",
        "create it, or correct its name",
    ),
    ErrorType.MAILBOX_BUSY: Advice(
        "another run is retrieving this folder, or by POP3 another program has the mailbox open",
        "wait for it, or cancel it",
    ),
    ErrorType.UID_VALIDITY_CHANGED: Advice(
        "the server renumbered the folder during the run",
        "start the run again",
    ),
    ErrorType.CALLBACK_FAILED: Advice(
        "the callback failed, hung or found no worker, the webhook became a dead letter",
        "repair it; retrieved mails come again, a sent mail keeps its result",
    ),
    ErrorType.EGRESS_REFUSED: Advice(
        "a webhook's host is not public, or not reached by https",
        "correct the URL, or list the host (`EMAIL_CONNECTOR_EGRESS_ALLOW`)",
    ),
    ErrorType.REDIRECT_REFUSED: Advice(
        "a webhook's receiver redirected too often, to http, or in a way that drops the request",
        "give the final URL",
    ),
    ErrorType.WEBHOOK_NOT_FOUND: Advice(
        "no event has this id",
        "`webhook list`",
    ),
    ErrorType.STORE_UNAVAILABLE: Advice(
        "the database, the blob store or Temporal did not answer",
        "it is tried again",
    ),
    ErrorType.SEARCH_ATTRIBUTES_UNUSABLE: Advice(
        "the Temporal namespace lacks our search attributes and refused to take them, or has one "
        "with another type; the worker does not start",
        "run `python -m starter temporal setup` as somebody who may, or add them by your "
        "provider's means (deploying)",
    ),
    ErrorType.INTERNAL: Advice(
        "a bug; class and place are in the message",
        "report it",
    ),
}
