"""Leave mails on the server as they are."""

from __future__ import annotations

from collections.abc import Sequence

from activities.ports import Mailbox
from models.mailbox import RetrievalOptions


class LeaveAlone:
    """Handling ``none``: no command that could change anything."""

    changes_server = False

    def check(self, mailbox: Mailbox, options: RetrievalOptions) -> None:
        """Nothing can be wrong."""

    def apply(self, mailbox: Mailbox, options: RetrievalOptions, uids: Sequence[int]) -> None:
        """Nothing is done."""
