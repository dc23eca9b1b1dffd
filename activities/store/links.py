"""Signed, short-lived links to content: HMAC-SHA256 over key and expiry.

A link names the key that signed it. The newest key signs; older ones verify as long as they are
listed, so that keys change without breaking a link that is out.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

from models.errors import ConnectorError, ErrorType

_EXPIRES = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{64}", re.ASCII)


class ContentLinks:
    """Makes and checks links.

    Args:
        keys: Signing keys by id, newest first.
        public_url: Base URL of the content endpoint as seen from outside; it may have a path.
        lifetime: How long a link is valid.
    """

    def __init__(self, keys: Mapping[str, bytes], public_url: str, lifetime: timedelta) -> None:
        self._keys = dict(keys)
        self._newest = next(iter(self._keys))
        self._base = public_url.rstrip("/")
        self._lifetime = lifetime

    def sign(self, content_key: str) -> tuple[str, datetime]:
        """Return a link to ``content_key`` and when it expires."""
        expires = (datetime.now(UTC) + self._lifetime).replace(microsecond=0)
        stamp = str(int(expires.timestamp()))
        signature = _signature(self._keys[self._newest], content_key, stamp)
        query = urlencode({"key": self._newest, "expires": stamp, "signature": signature})
        return f"{self._base}/content/{quote(content_key, safe='')}?{query}", expires

    def check(self, content_key: str, key_id: str, expires: str, signature: str) -> None:
        """Raise ``ContentNotFound`` unless the link is ours and not expired."""
        key = self._keys.get(key_id)
        if (
            key is None
            or not _EXPIRES.fullmatch(expires)
            or not _SIGNATURE.fullmatch(signature)
            or not hmac.compare_digest(_signature(key, content_key, expires), signature)
            or int(expires) < datetime.now(UTC).timestamp()
        ):
            raise ConnectorError(ErrorType.CONTENT_NOT_FOUND, "the link is not valid or expired")


def _signature(key: bytes, content_key: str, expires: str) -> str:
    # The first line keeps this key's signatures from meaning anything elsewhere.
    message = f"content link\n{expires}\n{content_key}".encode("utf-8", "surrogatepass")
    return hmac.new(key, message, hashlib.sha256).hexdigest()
