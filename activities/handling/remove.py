"""Remove mails from the server."""

from __future__ import annotations

from collections.abc import Sequence

from activities.ports import Mailbox
from models.errors import ConnectorError, ErrorType
from models.mailbox import Handling, RetrievalOptions


class Remove:
    """Handling ``remove``: UID EXPUNGE of exactly these mails (RFC 4315), or DELE and QUIT of POP3.

    A return says that the server has done it, not that it will.
    """

    changes_server = True

    def check(self, mailbox: Mailbox, _options: RetrievalOptions) -> None:
        """The server must be able to remove one mail and no other."""
        if Handling.REMOVE not in mailbox.handlings:
            raise ConnectorError(
                ErrorType.CAPABILITY_MISSING,
                "the server lacks UIDPLUS, so single mails cannot be removed safely; use handling "
                "'move' or 'none'",
                field="handling",
            )

    def apply(self, mailbox: Mailbox, _options: RetrievalOptions, uids: Sequence[int]) -> None:
        """Remove them."""
        mailbox.remove(uids)
