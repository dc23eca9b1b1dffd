"""Move mails to another folder of the server."""

from __future__ import annotations

from collections.abc import Sequence

from activities.ports import Mailbox
from models.errors import ConnectorError, ErrorType
from models.mailbox import Handling, RetrievalOptions


class Move:
    """Handling ``move``: MOVE (RFC 6851), or COPY, check, then remove."""

    changes_server = True

    def check(self, mailbox: Mailbox, options: RetrievalOptions) -> None:
        """The server must be able to, and the target exist: it is never made by us."""
        if Handling.MOVE not in mailbox.handlings:
            raise ConnectorError(
                ErrorType.CAPABILITY_MISSING,
                "mails cannot be moved on this server: POP3 knows no folders, and IMAP needs MOVE "
                "or UIDPLUS for it; use handling 'remove' or 'none', or give the account another "
                "server",
                field="handling",
            )
        if not mailbox.exists(_target(options)):
            raise ConnectorError(
                ErrorType.FOLDER_NOT_FOUND,
                "the target folder does not exist on the server; create it or choose another one",
                field="move_folder",
            )

    def apply(self, mailbox: Mailbox, options: RetrievalOptions, uids: Sequence[int]) -> None:
        """Move them."""
        mailbox.move(uids, _target(options))


def _target(options: RetrievalOptions) -> str:
    if options.move_folder is None:  # the model's validator refuses this already
        raise ConnectorError(ErrorType.INVALID_INPUT, "is required", field="move_folder")
    return options.move_folder
