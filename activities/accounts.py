"""Checks of an account's servers: log in, say what failed and what to do."""

from __future__ import annotations

from collections.abc import Iterable

from temporalio import activity

from activities.ports import Endpoint, MailboxConnector, SmtpTransport
from activities.store.accounts import Accounts
from activities.store.engine import Database
from models.account import AccountReference, EmailAccount, ServerCheck
from models.errors import ConnectorError, ErrorType
from models.names import ActivityName


class AccountActivities:
    """Activities of ``CheckServerConnection``."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        transport: SmtpTransport,
        connector: MailboxConnector,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._transport = transport
        self._connector = connector

    @activity.defn(name=ActivityName.CHECK_OUTGOING)
    async def check_outgoing(self, request: AccountReference) -> ServerCheck:
        """Connect and log in to the outgoing server; no mail is sent."""
        try:
            account, endpoint = self._endpoint(request, outgoing=True)
        except ConnectorError as error:
            return self._without_server(request, error)
        try:
            async with self._transport.session(endpoint) as session:
                return _passed(account, endpoint, session.capabilities)
        except ConnectorError as error:
            return _failed(account.id, error)

    @activity.defn(name=ActivityName.CHECK_INCOMING)
    def check_incoming(self, request: AccountReference) -> ServerCheck:
        """Connect and log in to the incoming server; no mail is read."""
        try:
            account, endpoint = self._endpoint(request, outgoing=False)
        except ConnectorError as error:
            return self._without_server(request, error)
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

    def _endpoint(
        self, request: AccountReference, *, outgoing: bool
    ) -> tuple[EmailAccount, Endpoint]:
        with self._database.read() as session:
            side = self._accounts.outgoing if outgoing else self._accounts.incoming
            return side(session, request.account)

    def _without_server(self, request: AccountReference, error: ConnectorError) -> ServerCheck:
        if error.type is not ErrorType.ACCOUNT_INCOMPLETE:
            raise error
        with self._database.read() as session:
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
