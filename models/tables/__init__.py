"""Tables of the store.

Importing this package registers all of them; nothing else may import it but ``activities.store``
and the migrations.
"""

from models.tables.accounts import AccountRow
from models.tables.content import ContentRow, PartRow
from models.tables.mailbox import (
    Acknowledgement,
    BatchItem,
    CallbackDelivery,
    Cursor,
    Folder,
    Location,
    Maildrop,
    Retrieval,
    Uidl,
)
from models.tables.messages import LogEntry, Message
from models.tables.sending import (
    Attempt,
    Delivery,
    Recipient,
    Rendition,
    SendingSlot,
    SlowDown,
)
from models.tables.webhooks import WebhookAttempt, WebhookDelivery, WebhookKey

__all__ = [
    "AccountRow",
    "Acknowledgement",
    "Attempt",
    "BatchItem",
    "CallbackDelivery",
    "ContentRow",
    "Cursor",
    "Delivery",
    "Folder",
    "Location",
    "LogEntry",
    "Maildrop",
    "Message",
    "PartRow",
    "Recipient",
    "Rendition",
    "Retrieval",
    "SendingSlot",
    "SlowDown",
    "Uidl",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookKey",
]
