"""Makes the secrets of `docker compose up`, once: `python3 tools/compose_secrets.py`.

Each is a file of its own in `secrets/`, which is never committed. Those that are there already stay
as they are: other keys could not read what the old ones encrypted. Needs nothing but Python.
"""

import argparse
import base64
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATABASE_HOST = "postgres:5432"


def _password() -> str:
    return secrets.token_urlsafe(24)


def _key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


NEW: Mapping[str, Callable[[], str]] = {
    "postgres_password": _password,
    "temporal_database_password": _password,
    "email_connector_database_password": _password,
    "email_connector_encryption_keys": _fernet_key,
    "email_connector_payload_keys": lambda: f"k1:{_key()}",
    "email_connector_content_keys": lambda: f"c1:{_key()}",
    "mail_password": _password,
    "email_connector_codec_token": lambda: secrets.token_urlsafe(32),
}
"""What is made at random, by file name."""
DATABASE_URL = "email_connector_database_url"


def make(folder: Path, database_host: str = DATABASE_HOST) -> list[str]:
    """Make what is missing in `folder`.

    Args:
        folder: where the files go; it is for its owner alone.
        database_host: host and port of PostgreSQL.

    Returns:
        The names of the files that were made.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    made = [name for name, new in NEW.items() if _write(folder / name, new())]
    password = (folder / "email_connector_database_password").read_text()
    url = f"postgresql+psycopg://email_connector:{password}@{database_host}/email_connector"
    return made + ([DATABASE_URL] if _write(folder / DATABASE_URL, url) else [])


def _write(path: Path, value: str) -> bool:
    # Readable in a container, whose user is another one; on this machine the folder protects it.
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        file.write(value)
        os.fchmod(file.fileno(), 0o444)
    return True


def main() -> int:
    """Make the files and say which were made."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--directory", type=Path, default=ROOT / "secrets")
    folder = parser.parse_args().directory
    made = make(folder)
    sys.stdout.write(f"{folder}: {', '.join(made) or 'all there'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
