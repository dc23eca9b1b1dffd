"""Signatures of webhooks as Standard Webhooks has them: HMAC-SHA256 over id, timestamp and body.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"


def secret_for(key: bytes, origin: str) -> str:
    """Return the secret of the receiver at ``origin``.

    Each has one of its own: with a common one every receiver could sign what another one believes.
    """
    derived = hmac.digest(key, f"webhook\n{origin}".encode(), hashlib.sha256)
    return PREFIX + base64.b64encode(derived).decode()


def signed_headers(
    secrets: Sequence[str], webhook_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """Return the headers that prove where a request comes from and when.

    Args:
        secrets: One signature is made with each; a receiver accepts any.
        webhook_id: The event's id.
        timestamp: Seconds since 1970.
        body: What is posted.
    """
    content = f"{webhook_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(secret, content) for secret in secrets),
    }


def _signature(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
