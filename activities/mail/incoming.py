"""Opens the mailbox of an account, by the protocol that its server speaks."""

from __future__ import annotations

from contextlib import AbstractContextManager

from activities.mail.imap import ImapConnector
from activities.mail.pop3 import Pop3Connector
from activities.ports import Endpoint, Mailbox


class IncomingConnector:
    """``MailboxConnector`` for all protocols."""

    def __init__(self, imap: ImapConnector, pop3: Pop3Connector) -> None:
        self._imap = imap
        self._pop3 = pop3

    def connect(self, endpoint: Endpoint) -> AbstractContextManager[Mailbox]:
        """Connect, secure and log in; leaving logs out."""
        if endpoint.protocol is None or endpoint.protocol.has_folders:
            return self._imap.connect(endpoint)
        return self._pop3.connect(endpoint)

    def cut(self) -> None:
        """Cut all connections, from any thread: for whoever uses them they are lost."""
        self._imap.cut()
        self._pop3.cut()
