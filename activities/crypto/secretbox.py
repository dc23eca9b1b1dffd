"""Secrets at rest: Fernet tokens; the newest key seals, every known key opens."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from models.errors import ConnectorError, ErrorType


class SecretBox:
    """Seals and opens secrets.

    Args:
        keys: Fernet keys, newest first.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def seal(self, secret: SecretStr) -> bytes:
        """Return ``secret`` encrypted."""
        return self._fernet.encrypt(secret.get_secret_value().encode())

    def open(self, sealed: bytes) -> SecretStr:
        """Return the secret; raises ``SecretUnreadable`` when no key fits."""
        try:
            return SecretStr(self._fernet.decrypt(sealed).decode())
        except InvalidToken:
            raise ConnectorError(
                ErrorType.SECRET_UNREADABLE,
                "a stored secret cannot be opened; give the key it was sealed with "
                "(EMAIL_CONNECTOR_ENCRYPTION_KEYS) or enter the secret again",
            ) from None
