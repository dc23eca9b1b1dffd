"""The Sent folder of an account."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from activities.ports import Endpoint, Mailbox, MailboxConnector
from models.account import EmailAccount
from models.errors import ConnectorError, ErrorType


@contextmanager
def opened(
    connector: MailboxConnector, account: EmailAccount, endpoint: Endpoint
) -> Iterator[tuple[Mailbox, str]]:
    r"""Log in and find the folder: the one marked \Sent (RFC 6154), else the one the account names.

    Raises:
        ConnectorError: ``FolderNotFound`` when there is neither.
    """
    with connector.connect(endpoint) as mailbox:
        folder = mailbox.sent_folder() or account.sent_folder
        if folder is None:
            raise ConnectorError(
                ErrorType.FOLDER_NOT_FOUND,
                "the server marks no folder as Sent; name one in the account's sent_folder",
                field="account.sent_folder",
            )
        yield mailbox, folder
