"""Names of the contract: workflow types, activities, queues, queries, signals, attributes.

They are API. Change one only with a new version beside the old.
"""

from __future__ import annotations

from enum import StrEnum


class WorkflowType(StrEnum):
    """Workflow types a client starts by name."""

    SEND_EMAIL = "SendEmail"
    SEND_QUEUED_EMAILS = "SendQueuedEmails"
    RETRIEVE_EMAIL_MESSAGES = "RetrieveEmailMessages"
    SUBSCRIBE_FOR_EMAIL_NOTIFICATION = "SubscribeForEmailNotification"
    GET_EMAIL_MESSAGE = "GetEmailMessage"
    GET_FOLDER_NAMES = "GetFolderNames"
    CHECK_SERVER_CONNECTION = "CheckServerConnection"
    DELIVER_WEBHOOK = "DeliverWebhook"
    NOTIFY_SEND_OUTCOME = "NotifySendOutcome"
    GET_SYSTEM_ERROR = "GetSystemError"


class TaskQueue(StrEnum):
    """Task queues by resource profile, not by tenant."""

    ORCHESTRATION = "email-orchestration"
    SMTP = "email-smtp"
    QUEUE = "email-queue"
    IMAP = "email-imap"
    LISTEN = "email-listen"
    CRYPTO = "email-crypto"
    CALLBACKS = "email-callbacks"


class ActivityName(StrEnum):
    """Activities, ``area.verb_object``."""

    COMPOSE = "sending.compose_message"
    TRANSMIT = "sending.transmit_delivery"
    TAKE_OVER = "sending.take_over_delivery"
    WATCH = "sending.watch_delivery"
    SETTLE = "sending.settle_delivery"
    DRAIN = "sending.drain_queue"
    VERIFY = "sending.verify_delivery"
    TEND_SENT_FOLDER = "sending.tend_sent_folder"
    FILE_SENT_COPIES = "sending.file_sent_copies"
    OPEN_RETRIEVAL = "mailbox.open_retrieval"
    FETCH_BATCH = "mailbox.fetch_batch"
    SETTLE_BATCH = "mailbox.settle_batch"
    CLOSE_RETRIEVAL = "mailbox.close_retrieval"
    LIST_FOLDERS = "mailbox.list_folders"
    CHECK_OUTGOING = "accounts.check_outgoing"
    CHECK_INCOMING = "accounts.check_incoming"
    READ_MESSAGE = "content.read_message"
    READ_ERRORS = "log.read_errors"
    CALLBACK_STATE = "callbacks.read_state"
    READ_OUTCOME = "callbacks.read_outcome"
    RECORD_CALLBACK_FAILURE = "callbacks.record_failure"
    OPEN_WEBHOOK = "webhooks.open_delivery"
    ATTEMPT_WEBHOOK = "webhooks.attempt_delivery"
    CLOSE_WEBHOOK = "webhooks.close_delivery"
    OPEN_SUBSCRIPTION = "subscriptions.open"
    LISTEN = "subscriptions.listen"


class Query(StrEnum):
    """Queries of running workflows."""

    PROGRESS = "progress"
    STATUS = "status"


class Signal(StrEnum):
    """Signals to running workflows."""

    STOP = "stop"
    NOTICED = "noticed"
    PAUSE = "pause"
    RESUME = "resume"


class SearchAttribute(StrEnum):
    """Search attributes (all of type Keyword). They are not encrypted: opaque values only."""

    ACCOUNT = "EmailAccount"
    STATUS = "EmailStatus"
    DIRECTION = "EmailDirection"


class RunStatus(StrEnum):
    """Values of ``EmailStatus``: how a run stands. One that sends ends in its mail's state."""

    SENDING = "sending"
    SENT = "sent"
    PARTIALLY_SENT = "partially_sent"
    UNKNOWN = "unknown"
    RECEIVING = "receiving"
    RECEIVED = "received"
    LISTENING = "listening"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Direction(StrEnum):
    """Which way a mail travels."""

    OUTGOING = "outgoing"
    INCOMING = "incoming"
