"""Policy ``verify``: a mail whose outcome is unknown is looked up in the Sent folder.

found                                    → it was sent
absent after the provider's grace time   → sent again, where a mail that the server took would be
                                           there; elsewhere held until a person decides
no Sent folder, or one that tells nothing → held
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from activities.ports import MailboxConnector
from activities.providers.registry import Providers
from activities.replication.servers import with_folders
from activities.sent.folder import opened
from activities.store import ledger, verification
from activities.store.accounts import Accounts
from activities.store.engine import Database
from activities.store.verification import Doubt
from models.account import EmailAccount
from models.delivery import HeldReason, VerifyResult
from models.errors import ConnectorError, ErrorType

PATIENCE: Final = timedelta(minutes=30)
"""How long a mailbox that does not answer is waited for, beyond the grace time."""
_NO_FOLDER: Final = frozenset(
    {ErrorType.ACCOUNT_INCOMPLETE, ErrorType.CAPABILITY_MISSING, ErrorType.FOLDER_NOT_FOUND}
)


class Verification:
    """Looks deliveries up. Safe to repeat: only what is still as it was is changed."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        connector: MailboxConnector,
        providers: Providers,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._connector = connector
        self._providers = providers

    def due(self, account_id: str, limit: int = 100) -> list[str]:
        """Queued deliveries of an account that are to be looked up now."""
        with self._database.read() as session:
            return verification.due(session, account_id, datetime.now(UTC), limit)

    def look(self, delivery_id: str) -> VerifyResult:
        """Look a delivery up once and write down what follows.

        Raises:
            ConnectorError: The mailbox or the store does not answer now; look again.
        """
        with self._database.read() as session:
            doubt = verification.doubt(session, delivery_id)
        if doubt is not None:
            self._look(doubt)
        with self._database.read() as session:
            left = verification.doubt(session, delivery_id)
            return VerifyResult(
                report=ledger.report(session, delivery_id),
                look_again_seconds=_seconds_until(left.verify_at) if left else None,
                held_reason=verification.held_reason(session, delivery_id),
            )

    def _look(self, doubt: Doubt) -> None:
        if not doubt.settled_if_found:
            self._hold(doubt, HeldReason.SENT_PROVES_NOTHING)
            return
        with self._database.read() as session:
            account = self._accounts.get(session, doubt.account_id)
        grace = timedelta(seconds=self._providers.of(account).sent_visible_seconds)
        until = doubt.verify_at or datetime.now(UTC) + grace
        try:
            found = self._found(doubt)
        except ConnectorError as error:
            if error.type in _NO_FOLDER:
                self._hold(doubt, HeldReason.NO_SENT_FOLDER)
            elif error.type is ErrorType.STORE_UNAVAILABLE:
                raise
            elif not error.temporary or datetime.now(UTC) > until + PATIENCE:
                self._hold(doubt, error.type)
            else:
                self._wait(doubt, until)
                raise
            return
        if found:
            with self._database.write() as session:
                verification.confirm(session, doubt)
        elif doubt.verify_at is None or datetime.now(UTC) < until:
            self._wait(doubt, until)
        elif self._absence_proves(account):
            with self._database.write() as session:
                verification.reopen(session, doubt)
        else:
            self._hold(doubt, HeldReason.NOT_IN_SENT)

    def _found(self, doubt: Doubt) -> bool:
        account, endpoint = with_folders(self._database, self._accounts, doubt.account_id)
        with opened(self._connector, account, endpoint) as (mailbox, folder):
            return bool(mailbox.find_by_message_id(folder, doubt.internet_message_id))

    def _absence_proves(self, account: EmailAccount) -> bool:
        """Whether a mail that the server took would be in the folder that we look into."""
        profile = self._providers.of(account)
        return (
            profile.files_sent
            and profile.keeps_message_id
            and self._providers.keeps_mailbox_of(account)
        )

    def _wait(self, doubt: Doubt, until: datetime) -> None:
        if doubt.verify_at is None:
            with self._database.write() as session:
                verification.look_again(session, doubt, until)

    def _hold(self, doubt: Doubt, reason: HeldReason | ErrorType) -> None:
        with self._database.write() as session:
            verification.hold(session, doubt, reason)


def _seconds_until(at: datetime | None) -> float:
    """Seconds left, and never none: whoever asks waits before asking again."""
    left = (at - datetime.now(UTC)).total_seconds() if at else 0
    return max(left, 0.1)
