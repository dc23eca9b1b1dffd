"""Who may use the codec server: holders of the token, and browsers that have signed in with it.

A browser shows a session: the time it ends, and a MAC over that by the token. Nothing is kept, a
new token ends all sessions. An invitation is the same for one use: it signs a browser in without
showing the token. Which ones were used is known until the process ends.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time

from pydantic import SecretStr

SESSION_SECONDS = 12 * 3600
_INVITATION_SECONDS = 24 * 3600
_STAMP = re.compile(r"([0-9]{1,12})\.([A-Za-z0-9_-]{16})\.([0-9a-f]{64})", re.ASCII)


class CodecAccess:
    """Makes and checks credentials.

    Args:
        token: The bearer token.
    """

    def __init__(self, token: SecretStr) -> None:
        self._token = token.get_secret_value().encode()
        self._used: dict[str, int] = {}

    def bearer(self, header: str | None) -> bool:
        """Whether an Authorization header holds the token (RFC 6750 §2.1)."""
        scheme, _, given = (header or "").partition(" ")
        return self._is_token(given) and scheme.lower() == "bearer"

    def invitation(self) -> str:
        """Return a code that signs one browser in, within a day."""
        return self._stamped("invitation", _INVITATION_SECONDS)

    def session(self) -> str:
        """Return the value of a session's cookie."""
        return self._stamped("session", SESSION_SECONDS)

    def admits(self, credential: str) -> bool:
        """Whether a person may sign in: with the token, or an invitation not used before."""
        if self._is_token(credential):
            return True
        expires = self._expiry("invitation", credential)
        if expires is None or credential in self._used:
            return False
        now = time.time()
        self._used = {code: end for code, end in self._used.items() if end > now}
        self._used[credential] = expires
        return True

    def is_session(self, value: str) -> bool:
        """Whether a cookie's value is a session that has not ended."""
        return self._expiry("session", value) is not None

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token)

    def _stamped(self, purpose: str, seconds: int) -> str:
        expires, nonce = str(int(time.time()) + seconds), secrets.token_urlsafe(12)
        return f"{expires}.{nonce}.{self._mac(purpose, expires, nonce)}"

    def _expiry(self, purpose: str, value: str) -> int | None:
        found = _STAMP.fullmatch(value)
        if found is None:
            return None
        expires, nonce, mac = found.groups()
        if not hmac.compare_digest(mac, self._mac(purpose, expires, nonce)):
            return None
        return int(expires) if int(expires) > time.time() else None

    def _mac(self, purpose: str, expires: str, nonce: str) -> str:
        message = f"codec {purpose}\n{expires}\n{nonce}".encode()
        return hmac.new(self._token, message, hashlib.sha256).hexdigest()
