"""Runs the embedded mail server as a child process."""

from __future__ import annotations

from pathlib import Path

from starter.embedded.child import PythonChild
from starter.embedded.credentials import MailServerFacts
from tools.servers.process import free_port, greets


class MailServer(PythonChild):
    """The embedded mail server; it keeps its ports from one start to the next while they are free.

    Args:
        directory: Where it keeps its ports and its password.
    """

    name = "mailserver"

    def __init__(self, directory: Path) -> None:
        known = MailServerFacts.load(directory)
        wanted = (known.smtp_port, known.imap_port) if known else (0, 0)
        smtp_port, imap_port = (p if p and not greets(p) else free_port() for p in wanted)
        arguments = ["-m", "starter.embedded.mailserver", "--dir", str(directory)]
        arguments += ["--smtp-port", str(smtp_port), "--imap-port", str(imap_port)]
        super().__init__(directory, arguments)

    def _ready(self) -> bool:
        return self.said().startswith("{") and "\n" in self.said()

    @property
    def facts(self) -> MailServerFacts:
        """Ports and credentials of the running server."""
        return MailServerFacts.model_validate_json(self.said().partition("\n")[0])
