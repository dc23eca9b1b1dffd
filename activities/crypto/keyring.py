"""Keys: from the settings, else from a file (mode 0600) made on first run."""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet
from pydantic import SecretStr

from models.errors import ConnectorError, ErrorType
from models.settings import Settings


@dataclass(frozen=True, repr=False)
class Keyring:
    """All keys. Its ``repr`` shows nothing."""

    secrets: tuple[str, ...]
    """Fernet keys, newest first."""
    payloads: dict[str, bytes] | None
    """Payload keys by id, newest first; None when payload encryption is off."""
    content: dict[str, bytes]
    """Keys that sign content links by id, newest first."""


def load_keyring(settings: Settings) -> Keyring:
    """Return the keys, making them first where there are none."""
    stored = json.loads(_read_or_make(settings.data_dir / "keys.json", _new_keys))
    fernets = _chosen(settings.encryption_keys, stored["secrets"])
    payloads = _chosen(settings.payload_keys, stored["payloads"])
    content = _chosen(settings.content_keys, _with_id(stored["content"]))
    return Keyring(
        secrets=tuple(_checked_fernet(k) for k in _listed(fernets)),
        payloads=_keys_by_id("PAYLOAD", payloads) if settings.payload_encryption == "on" else None,
        content=_keys_by_id("CONTENT", content),
    )


def load_codec_token(settings: Settings) -> SecretStr:
    """Return the codec server's bearer token, making it first where there is none."""
    if settings.codec_token:
        return settings.codec_token
    path = codec_token_file(settings)
    return SecretStr(_read_or_make(path, lambda: secrets.token_urlsafe(32)).strip())


def codec_token_file(settings: Settings) -> Path:
    """Where the codec server's token is kept unless it is a setting."""
    return settings.data_dir / "codec-token"


def _new_keys() -> str:
    return json.dumps(
        {
            "secrets": Fernet.generate_key().decode(),
            "payloads": f"k1:{base64.b64encode(os.urandom(32)).decode()}",
            "content": f"k1:{base64.b64encode(os.urandom(32)).decode()}",
        }
    )


def _read_or_make(path: Path, make: Callable[[], str]) -> str:
    for _ in range(2):
        try:
            return path.read_text()
        except FileNotFoundError:
            _make(path, make())
    raise _bad(path.name, "it cannot be read back after it was made")


def _make(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Not the process id: in a container it is the same after a crash.
    temporary = path.with_name(f"{path.stem}.{os.urandom(8).hex()}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(content)
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


def _chosen(setting: SecretStr | None, stored: str) -> str:
    return setting.get_secret_value() if setting else stored


def _with_id(key: str) -> str:
    return key if ":" in key else f"k1:{key}"  # files of the first versions hold one key, bare


def _listed(keys: str) -> list[str]:
    return [key.strip() for key in keys.split(",") if key.strip()]


def _checked_fernet(key: str) -> str:
    try:
        Fernet(key)
    except ValueError:
        raise _bad("EMAIL_CONNECTOR_ENCRYPTION_KEYS", "a key is not a Fernet key") from None
    return key


def _keys_by_id(purpose: str, text: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for entry in _listed(text):
        key_id, _, encoded = entry.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            key = b""
        if not key_id or len(key) != 32:
            name = f"EMAIL_CONNECTOR_{purpose}_KEYS"
            raise _bad(name, "write id:base64 of 32 bytes") from None
        keys[key_id] = key
    if not keys:
        raise _bad(f"EMAIL_CONNECTOR_{purpose}_KEYS", "give at least one key")
    return keys


def _bad(name: str, reason: str) -> ConnectorError:
    return ConnectorError(ErrorType.INVALID_INPUT, reason, field=name)
