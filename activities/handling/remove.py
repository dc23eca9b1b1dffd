"""Remove mails from the server."""

from __future__ import annotations

from collections.abc import Sequence

from activities.ports import Mailbox
from models.errors import ConnectorError, ErrorType
from models.mailbox import RetrievalOptions


class Remove:
    """Handling ``remove``: UID EXPUNGE of exactly these mails (RFC 4315)."""

    changes_server = True

    def check(self, mailbox: Mailbox, _options: RetrievalOptions) -> None:
        """Without UIDPLUS a mail could only be removed together with other people's."""
        if "UIDPLUS" not in mailbox.capabilities:
            raise ConnectorError(
                ErrorType.CAPABILITY_MISSING,
                "the server lacks UIDPLUS, so single mails cannot be removed safely; use handling "
                "'move' or 'none'",
                field="handling",
            )

    def apply(self, mailbox: Mailbox, _options: RetrievalOptions, uids: Sequence[int]) -> None:
        """Remove them."""
        mailbox.remove(uids)
