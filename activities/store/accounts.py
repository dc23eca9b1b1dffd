"""Accounts: settings in clear, secrets sealed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from activities.crypto.secretbox import SecretBox
from activities.ports import Endpoint
from activities.store.log import record
from activities.store.scopes import WANTED, account_scope, back_off_scope
from models.account import (
    AccountSettings,
    EmailAccount,
    IncomingServer,
    LoginMethod,
    OutgoingServer,
)
from models.errors import ConnectorError, ErrorType
from models.mailbox import Handling
from models.tables import (
    AccountRow,
    Acknowledgement,
    BatchItem,
    CallbackDelivery,
    ContentRow,
    Cursor,
    Delivery,
    Folder,
    Location,
    LogEntry,
    Maildrop,
    Message,
    PartRow,
    Rendition,
    Retrieval,
    SendingSlot,
    SlowDown,
    Uidl,
    WebhookDelivery,
)


@dataclass(frozen=True, slots=True)
class Secrets:
    """Passwords of the two sides of an account; None = none, or keep what is stored."""

    outgoing: SecretStr | None = None
    incoming: SecretStr | None = None


class Accounts:
    """Reads and writes accounts.

    Args:
        box: Seals and opens passwords.
        ca_file: Extra trust anchors for mail servers.
    """

    def __init__(self, box: SecretBox, ca_file: Path | None = None) -> None:
        self._box = box
        self._ca_file = str(ca_file) if ca_file else None

    def add(
        self, session: Session, account_id: str, settings: AccountSettings, secrets: Secrets
    ) -> EmailAccount:
        """Add an account.

        Raises:
            ConnectorError: ``InvalidInput`` when its name is taken, or its parts do not fit.
        """
        _check_fit(settings)
        now = datetime.now(UTC)
        row = AccountRow(
            id=account_id,
            name=settings.name,
            settings=settings.model_dump(mode="json"),
            outgoing_password=self._sealed(secrets.outgoing),
            incoming_password=self._sealed(secrets.incoming),
            created_at=now,
            updated_at=now,
        )
        session.add(row)
        _flush_unique(session)
        record(session, "account_added", account_id=account_id)
        return _account(row)

    def edit(
        self, session: Session, reference: str, settings: AccountSettings, secrets: Secrets
    ) -> EmailAccount:
        """Replace the settings; a secret that is None is kept. Raises as ``add`` does."""
        _check_fit(settings)
        row = self._row(session, reference)
        row.name = settings.name
        row.settings = settings.model_dump(mode="json")
        if secrets.outgoing is not None:
            row.outgoing_password = self._sealed(secrets.outgoing)
        if secrets.incoming is not None:
            row.incoming_password = self._sealed(secrets.incoming)
        row.updated_at = datetime.now(UTC)
        session.add(row)
        _flush_unique(session)
        record(session, "account_edited", account_id=row.id)
        return _account(row)

    def delete(self, session: Session, reference: str) -> EmailAccount:
        """Delete an account with its stored mail and its cursors; the servers are not touched."""
        row = self._row(session, reference)
        messages = select(Message.id).where(col(Message.account_id) == row.id)
        folders = select(Folder.id).where(col(Folder.account_id) == row.id)
        batches = select(CallbackDelivery.id).where(col(CallbackDelivery.folder_id).in_(folders))
        for statement in (
            delete(BatchItem).where(col(BatchItem.batch_id).in_(batches)),
            delete(CallbackDelivery).where(col(CallbackDelivery.folder_id).in_(folders)),
            delete(Retrieval).where(col(Retrieval.folder_id).in_(folders)),
            delete(Cursor).where(col(Cursor.folder_id).in_(folders)),
            delete(Location).where(col(Location.folder_id).in_(folders)),
            delete(Uidl).where(col(Uidl.account_id) == row.id),
            delete(Maildrop).where(col(Maildrop.account_id) == row.id),
            delete(WebhookDelivery).where(col(WebhookDelivery.account_id) == row.id),
            delete(Folder).where(col(Folder.account_id) == row.id),
            delete(Acknowledgement).where(col(Acknowledgement.message_id).in_(messages)),
            delete(PartRow).where(col(PartRow.message_id).in_(messages)),
            delete(Delivery).where(col(Delivery.account_id) == row.id),
            delete(Rendition).where(col(Rendition.message_id).in_(messages)),
            delete(ContentRow).where(col(ContentRow.message_id).in_(messages)),
            delete(Message).where(col(Message.account_id) == row.id),
            delete(SendingSlot).where(col(SendingSlot.scope) == account_scope(row.id)),
            delete(SendingSlot).where(col(SendingSlot.scope) == WANTED + account_scope(row.id)),
            delete(SlowDown).where(
                col(SlowDown.scope).in_([account_scope(row.id), back_off_scope(row.id)])
            ),
            delete(AccountRow).where(col(AccountRow.id) == row.id),
        ):
            session.connection().execute(statement)
        record(session, "account_deleted", account_id=row.id)
        return _account(row)

    def large_content(self, session: Session, reference: str) -> list[tuple[str, str]]:
        """The account's content outside the database, as (key, sha256); delete it last."""
        messages = select(Message.id).where(Message.account_id == self._row(session, reference).id)
        return [
            *session.exec(
                select(ContentRow.key, ContentRow.sha256).where(
                    col(ContentRow.message_id).in_(messages), col(ContentRow.data).is_(None)
                )
            )
        ]

    def list(self, session: Session) -> list[EmailAccount]:
        """All accounts by name."""
        return [_account(r) for r in session.exec(select(AccountRow).order_by(AccountRow.name))]

    def get(self, session: Session, reference: str) -> EmailAccount:
        """The account with this id or name; raises ``AccountNotFound``."""
        return _account(self._row(session, reference))

    def id_of(self, session: Session, reference: str) -> str:
        """The id of an account, or of a deleted one that the timeline still knows.

        Raises:
            ConnectorError: ``AccountNotFound`` when there never was one.
        """
        known = select(LogEntry.id).where(LogEntry.account_id == reference).limit(1)
        try:
            return self._row(session, reference).id
        except ConnectorError:
            if session.exec(known).first() is None:
                raise
            return reference

    def outgoing(self, session: Session, reference: str) -> tuple[EmailAccount, Endpoint]:
        """The account and where to send; raises ``AccountIncomplete`` without that side."""
        row = self._row(session, reference)
        account = _account(row)
        if account.outgoing is None:
            raise _incomplete("outgoing")
        endpoint = self._endpoint(account.outgoing, row.outgoing_password)
        return account, replace(endpoint, max_connections=account.max_connections)

    def incoming(self, session: Session, reference: str) -> tuple[EmailAccount, Endpoint]:
        """The account and where to retrieve; raises ``AccountIncomplete`` without that side."""
        row = self._row(session, reference)
        account = _account(row)
        if account.incoming is None:
            raise _incomplete("incoming")
        endpoint = self._endpoint(account.incoming, row.incoming_password)
        return account, replace(endpoint, protocol=account.incoming.protocol, account_id=account.id)

    def _row(self, session: Session, reference: str) -> AccountRow:
        by_id = session.exec(select(AccountRow).where(AccountRow.id == reference)).one_or_none()
        row = (
            by_id
            or session.exec(select(AccountRow).where(AccountRow.name == reference)).one_or_none()
        )
        if row is None:
            raise ConnectorError(
                ErrorType.ACCOUNT_NOT_FOUND,
                "there is no account with this id or name; 'account list' shows all",
                field="account",
            )
        return row

    def _endpoint(self, server: OutgoingServer | IncomingServer, sealed: bytes | None) -> Endpoint:
        password = self._box.open(sealed) if sealed is not None else None
        if server.login is LoginMethod.BASIC and password is None:
            raise ConnectorError(
                ErrorType.ACCOUNT_INCOMPLETE,
                "the account has no password; set one with 'account edit'",
                field="account",
            )
        if server.login is LoginMethod.OAUTH:
            raise ConnectorError(
                ErrorType.ACCOUNT_INCOMPLETE,
                "login 'oauth' has no provider yet; use 'basic' or 'none'",
                field="account",
            )
        return Endpoint(
            host=server.host,
            port=server.port,
            security=server.security,
            login=server.login,
            username=server.username,
            password=password,
            timeout=timedelta(milliseconds=server.connection_timeout_ms),
            check_identity=server.check_server_identity,
            ca_file=self._ca_file,
        )

    def _sealed(self, secret: SecretStr | None) -> bytes | None:
        return None if secret is None else self._box.seal(secret)


def _account(row: AccountRow) -> EmailAccount:
    return EmailAccount.model_validate({**row.settings, "id": row.id, "created_at": row.created_at})


def _incomplete(side: str) -> ConnectorError:
    return ConnectorError(
        ErrorType.ACCOUNT_INCOMPLETE,
        f"the account has no {side} server; add one with 'account edit'",
        field=f"account.{side}",
    )


def _check_fit(settings: AccountSettings) -> None:
    """Refuse what the incoming server's protocol cannot do.

    Not a matter of the model: accounts that are in the store already must stay readable.
    """
    if settings.incoming is None or settings.incoming.protocol.has_folders:
        return
    if settings.retrieval.handling is Handling.MOVE:
        raise ConnectorError(
            ErrorType.INVALID_INPUT,
            "POP3 knows no folders to move mails to; use 'remove' or 'none', or an IMAP server",
            field="retrieval.handling",
        )
    if settings.retrieval.folder != "INBOX":
        raise ConnectorError(
            ErrorType.INVALID_INPUT,
            "POP3 knows no folders; its mails are in INBOX",
            field="retrieval.folder",
        )


def _flush_unique(session: Session) -> None:
    try:
        session.flush()
    except IntegrityError:
        raise ConnectorError(
            ErrorType.INVALID_INPUT, "another account has this name", field="name"
        ) from None
