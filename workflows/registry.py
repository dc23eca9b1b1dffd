"""All workflows and how their code fails, for the worker and for the replay tests."""

from __future__ import annotations

from workflows.check_server_connection import CheckServerConnectionWorkflow
from workflows.deliver_webhook import DeliverWebhookWorkflow
from workflows.get_email_message import GetEmailMessageWorkflow
from workflows.get_folder_names import GetFolderNamesWorkflow
from workflows.get_system_error import GetSystemErrorWorkflow
from workflows.notify_send_outcome import NotifySendOutcomeWorkflow
from workflows.retrieve_email_messages import RetrieveEmailMessagesWorkflow
from workflows.send_email import SendEmailWorkflow
from workflows.send_queued_emails import SendQueuedEmailsWorkflow
from workflows.subscribe_for_email_notification import SubscribeForEmailNotificationWorkflow
from workflows.unknown_type import UnknownTypeWorkflow

WORKFLOWS = [
    CheckServerConnectionWorkflow,
    DeliverWebhookWorkflow,
    GetEmailMessageWorkflow,
    GetFolderNamesWorkflow,
    GetSystemErrorWorkflow,
    NotifySendOutcomeWorkflow,
    RetrieveEmailMessagesWorkflow,
    SendEmailWorkflow,
    SendQueuedEmailsWorkflow,
    SubscribeForEmailNotificationWorkflow,
    UnknownTypeWorkflow,
]

FAILURES: list[type[BaseException]] = [ValueError, TypeError, KeyError, OverflowError]
"""What ends a workflow instead of stalling it: a public workflow never hangs."""
