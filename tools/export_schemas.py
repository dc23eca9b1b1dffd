"""Writes the JSON Schemas of the contract to ``docs/schemas``; ``--check`` only compares."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from models.account import (
    AccountSettings,
    CheckServerConnectionInput,
    CheckServerConnectionResult,
)
from models.delivery import DeliveryReport, SendEmailInput, SendEmailResult
from models.mailbox import (
    FetchCompleted,
    FetchedBatch,
    FetchFailed,
    GetFolderNamesInput,
    GetFolderNamesResult,
    RetrievalProgress,
    RetrieveEmailMessagesInput,
    RetrieveEmailMessagesResult,
)
from models.message import GetEmailMessageInput, GetEmailMessageResult
from models.outcome import (
    EmailSent,
    NotifySendOutcomeInput,
    NotifySendOutcomeResult,
    SendFailed,
)
from models.queue import SendQueuedEmailsInput, SendQueuedEmailsResult
from models.subscription import (
    SubscribeForEmailNotificationInput,
    SubscribeForEmailNotificationResult,
    SubscriptionStatus,
)
from models.system_error import GetSystemErrorInput, GetSystemErrorResult
from models.webhook import DeliverWebhookInput, DeliverWebhookResult, WebhookEvent

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"

INPUTS: tuple[type[BaseModel], ...] = (
    AccountSettings,
    CheckServerConnectionInput,
    DeliverWebhookInput,
    GetEmailMessageInput,
    GetFolderNamesInput,
    GetSystemErrorInput,
    NotifySendOutcomeInput,
    RetrieveEmailMessagesInput,
    SendEmailInput,
    SendQueuedEmailsInput,
    SubscribeForEmailNotificationInput,
)
OUTPUTS: tuple[type[BaseModel], ...] = (
    CheckServerConnectionResult,
    DeliverWebhookResult,
    DeliveryReport,
    EmailSent,
    FetchCompleted,
    FetchFailed,
    FetchedBatch,
    GetEmailMessageResult,
    GetFolderNamesResult,
    GetSystemErrorResult,
    NotifySendOutcomeResult,
    RetrievalProgress,
    RetrieveEmailMessagesResult,
    SendEmailResult,
    SendFailed,
    SendQueuedEmailsResult,
    WebhookEvent,
    SubscribeForEmailNotificationResult,
    SubscriptionStatus,
)


def schemas() -> dict[str, str]:
    """Return the schema of each contract type by file name."""
    rendered: dict[str, str] = {}
    for models, mode in ((INPUTS, "validation"), (OUTPUTS, "serialization")):
        for model in models:
            schema = model.model_json_schema(
                mode="validation" if mode == "validation" else "serialization"
            )
            rendered[f"{model.__name__}.json"] = json.dumps(schema, indent=2, sort_keys=True) + "\n"
    return rendered


def main() -> int:
    """Write or compare; 1 when a file differs."""
    differing = [
        name
        for name, text in schemas().items()
        if not (FOLDER / name).exists() or (FOLDER / name).read_text() != text
    ]
    if "--check" in sys.argv:
        for name in differing:
            sys.stderr.write(f"docs/schemas/{name} is out of date; run 'make schemas'\n")
        return 1 if differing else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in schemas().items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
