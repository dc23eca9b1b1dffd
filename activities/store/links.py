"""Signed, short-lived links to content: HMAC-SHA256 over key and expiry."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

from models.errors import ConnectorError, ErrorType


class ContentLinks:
    """Makes and checks links.

    Args:
        key: Signing key.
        public_url: Base URL of the content endpoint as seen from outside.
        lifetime: How long a link is valid.
    """

    def __init__(self, key: bytes, public_url: str, lifetime: timedelta) -> None:
        self._key = key
        self._base = public_url.rstrip("/")
        self._lifetime = lifetime

    def sign(self, content_key: str) -> tuple[str, datetime]:
        """Return a link to ``content_key`` and when it expires."""
        expires = (datetime.now(UTC) + self._lifetime).replace(microsecond=0)
        stamp = str(int(expires.timestamp()))
        query = urlencode({"expires": stamp, "signature": self._signature(content_key, stamp)})
        return f"{self._base}/content/{quote(content_key, safe='')}?{query}", expires

    def check(self, content_key: str, expires: str, signature: str) -> None:
        """Raise ``ContentNotFound`` unless the link is ours and not expired."""
        expected = self._signature(content_key, expires)
        genuine = hmac.compare_digest(expected.encode(), signature.encode())
        if not genuine or int(expires) < datetime.now(UTC).timestamp():
            raise ConnectorError(ErrorType.CONTENT_NOT_FOUND, "the link is not valid or expired")

    def _signature(self, content_key: str, expires: str) -> str:
        message = f"{content_key}\n{expires}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()
