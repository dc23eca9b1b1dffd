"""Where the embedded mail server listens and who may log in."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

DOMAIN = "demo.example"
HOST = "127.0.0.1"
ARCHIVE = "Archive"
SENT = "Sent"
"""A folder every user has."""
_FILE = "mailserver.json"


class MailServerFacts(BaseModel):
    """What the server says on its first line, and keeps in its folder."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    host: str = HOST
    domain: str = DOMAIN
    smtp_port: int
    imap_port: int
    password: str

    def __repr__(self) -> str:
        """Show the ports only: a repr ends up in logs."""
        return f"MailServerFacts(smtp_port={self.smtp_port}, imap_port={self.imap_port})"

    @classmethod
    def load(cls, directory: Path) -> MailServerFacts | None:
        """Return what an earlier start left in ``directory``."""
        try:
            return cls.model_validate_json((directory / _FILE).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def save(self, directory: Path) -> None:
        """Keep it for the next start, for the owner's eyes only."""
        path = directory / _FILE
        path.touch(mode=0o600)
        path.write_text(self.model_dump_json())
