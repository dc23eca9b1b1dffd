"""Keys: from the settings, else from a file (mode 0600) made on first run."""

from __future__ import annotations

import base64
import binascii
import json
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet

from models.errors import ConnectorError, ErrorType
from models.settings import Settings


@dataclass(frozen=True, repr=False)
class Keyring:
    """All keys. Its ``repr`` shows nothing."""

    secrets: tuple[str, ...]
    """Fernet keys, newest first."""
    payloads: dict[str, bytes] | None
    """Payload keys by id, newest first; None when payload encryption is off."""
    content: bytes
    """Key that signs content links."""


def load_keyring(settings: Settings) -> Keyring:
    """Return the keys, making them first where there are none."""
    stored = _stored_keys(settings.data_dir / "keys.json")
    secrets = (
        settings.encryption_keys.get_secret_value()
        if settings.encryption_keys
        else stored["secrets"]
    )
    payloads = (
        settings.payload_keys.get_secret_value() if settings.payload_keys else stored["payloads"]
    )
    return Keyring(
        secrets=tuple(_checked_fernet(k) for k in _listed(secrets)),
        payloads=_payload_keys(payloads) if settings.payload_encryption == "on" else None,
        content=base64.b64decode(stored["content"]),
    )


def _stored_keys(path: Path) -> dict[str, str]:
    for _ in range(2):
        try:
            return dict(json.loads(path.read_text()))
        except FileNotFoundError:
            _make_keys(path)
    raise _bad("keys.json", "it cannot be read back after it was made")


def _make_keys(path: Path) -> None:
    keys = {
        "secrets": Fernet.generate_key().decode(),
        "payloads": f"k1:{base64.b64encode(os.urandom(32)).decode()}",
        "content": base64.b64encode(os.urandom(32)).decode(),
    }
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Not the process id: in a container it is the same after a crash.
    temporary = path.with_name(f"keys.{os.urandom(8).hex()}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(keys, file)
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link never replaces: of two processes that start at once, the second takes the keys
        # of the first.
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _listed(keys: str) -> list[str]:
    return [key.strip() for key in keys.split(",") if key.strip()]


def _checked_fernet(key: str) -> str:
    try:
        Fernet(key)
    except ValueError:
        raise _bad("EMAIL_CONNECTOR_ENCRYPTION_KEYS", "a key is not a Fernet key") from None
    return key


def _payload_keys(text: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for entry in _listed(text):
        key_id, _, encoded = entry.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            key = b""
        if not key_id or len(key) != 32:
            raise _bad("EMAIL_CONNECTOR_PAYLOAD_KEYS", "write id:base64 of 32 bytes") from None
        keys[key_id] = key
    return keys


def _bad(name: str, reason: str) -> ConnectorError:
    return ConnectorError(ErrorType.INVALID_INPUT, reason, field=name)
