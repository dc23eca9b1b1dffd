"""Checks of an account's servers: log in, say what failed and what to do."""

from __future__ import annotations

from collections.abc import Iterable

from sqlmodel import Session
from temporalio import activity

from activities.ports import Endpoint, MailboxConnector, SmtpTransport
from activities.store.accounts import Accounts
from activities.store.engine import Database
from activities.store.readers import Readers
from models.account import AccountReference, EmailAccount, ServerCheck
from models.errors import ConnectorError, ErrorType
from models.names import ActivityName


class AccountActivities:
    """Activities of ``CheckServerConnection``."""

    def __init__(
        self,
        database: Database,
        readers: Readers,
        accounts: Accounts,
        transport: SmtpTransport,
        connector: MailboxConnector,
    ) -> None:
        self._database = database
        self._readers = readers
        self._accounts = accounts
        self._transport = transport
        self._connector = connector

    @activity.defn(name=ActivityName.CHECK_OUTGOING)
    async def check_outgoing(self, request: AccountReference) -> ServerCheck:
        """Connect and log in to the outgoing server; no mail is sent."""
        try:
            account, endpoint = await self._readers.read(
                lambda s: self._accounts.outgoing(s, request.account)
            )
        except ConnectorError as error:
            problem = error
            return await self._readers.read(lambda s: self._without_server(s, request, problem))
        try:
            async with self._transport.session(endpoint) as session:
                return _passed(account, endpoint, session.capabilities)
        except ConnectorError as error:
            return _failed(account.id, error)

    @activity.defn(name=ActivityName.CHECK_INCOMING, no_thread_cancel_exception=True)
    def check_incoming(self, request: AccountReference) -> ServerCheck:
        """Connect and log in to the incoming server; no mail is read."""
        try:
            with self._database.read() as session:
                account, endpoint = self._accounts.incoming(session, request.account)
        except ConnectorError as error:
            with self._database.read() as session:
                return self._without_server(session, request, error)
        try:
            with self._connector.connect(endpoint) as mailbox:
                if not mailbox.exists(account.retrieval.folder):
                    raise ConnectorError(
                        ErrorType.FOLDER_NOT_FOUND,
                        "the login works, but the account's folder does not exist on the server",
                        field="retrieval.folder",
                    )
                return _passed(account, endpoint, mailbox.capabilities)
        except ConnectorError as error:
            return _failed(account.id, error)

    def _without_server(
        self, session: Session, request: AccountReference, error: ConnectorError
    ) -> ServerCheck:
        if error.type is not ErrorType.ACCOUNT_INCOMPLETE:
            raise error
        account = self._accounts.get(session, request.account)
        missing = error.field in ("account.outgoing", "account.incoming")
        return _failed(account.id, error).model_copy(update={"configured": not missing})


def _passed(account: EmailAccount, endpoint: Endpoint, capabilities: Iterable[str]) -> ServerCheck:
    return ServerCheck(
        account_id=account.id,
        ok=True,
        explanation=f"connected and logged in to {endpoint.host}:{endpoint.port}",
        capabilities=sorted(capabilities),
    )


def _failed(account_id: str, error: ConnectorError) -> ServerCheck:
    return ServerCheck(
        account_id=account_id, ok=False, error_type=error.type, explanation=error.message
    )
