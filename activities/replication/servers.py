"""Where an account's mail is retrieved from."""

from __future__ import annotations

from activities.ports import Endpoint, FolderState
from activities.store.accounts import Accounts
from activities.store.engine import Database
from models.account import EmailAccount
from models.errors import ConnectorError, ErrorType
from models.tables import Retrieval


def incoming(
    database: Database, accounts: Accounts, reference: str
) -> tuple[EmailAccount, Endpoint]:
    """The account and its incoming server, whatever protocol that speaks."""
    with database.read() as session:
        return accounts.incoming(session, reference)


def with_folders(
    database: Database, accounts: Accounts, reference: str
) -> tuple[EmailAccount, Endpoint]:
    """The account and its IMAP server; raises ``CapabilityMissing`` for another protocol."""
    account, endpoint = incoming(database, accounts, reference)
    if account.incoming and not account.incoming.protocol.has_folders:
        raise ConnectorError(
            ErrorType.CAPABILITY_MISSING,
            "POP3 knows no folders; give the account an IMAP server",
            field="account",
        )
    return account, endpoint


def check_validity(state: FolderState, plan: Retrieval) -> None:
    """Raise ``UidValidityChanged`` when the plan's numbers now mean other mails."""
    if state.uid_validity != plan.uid_validity:
        raise ConnectorError(
            ErrorType.UID_VALIDITY_CHANGED,
            "the server renumbered the folder during the run; start it again, known mail is "
            "recognised",
            field="folder",
        )
