"""Callbacks as they stand with a mail: a webhook's URL, which may hold a token, is sealed."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from activities.crypto.secretbox import SecretBox
from models.callback import SendCallbacks, WebhookSpec


class StoredCallbacks:
    """Writes and reads the column ``message.callbacks``.

    Args:
        box: Seals URLs.
    """

    def __init__(self, box: SecretBox) -> None:
        self._box = box

    def pack(self, callbacks: SendCallbacks | None) -> dict[str, Any] | None:
        """Return ``callbacks`` for the column; None when nobody is to be told."""
        packed: dict[str, Any] = {}
        for kind, spec in callbacks or ():
            if spec is None:
                continue
            packed[kind] = spec.model_dump(mode="json")
            if isinstance(spec, WebhookSpec):
                packed[kind]["webhook"] = self._box.seal(SecretStr(spec.webhook)).decode()
        return packed or None

    def unpack(self, packed: dict[str, Any] | None) -> SendCallbacks:
        """Return what the column holds; raises ``SecretUnreadable`` when no key opens a URL."""
        opened: dict[str, Any] = {}
        for kind, spec in (packed or {}).items():
            opened[kind] = dict(spec)
            sealed = spec.get("webhook")
            if sealed is not None:
                opened[kind]["webhook"] = self._box.open(sealed.encode()).get_secret_value()
        return SendCallbacks.model_validate(opened)
