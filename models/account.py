"""E-mail accounts: an optional outgoing and an optional incoming server. Secrets are not here."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from models.addresses import AddrSpec
from models.base import Payload, Reference, Request, UtcDatetime
from models.errors import ErrorType
from models.mailbox import RetrievalOptions
from models.provider import ProviderName


class Security(StrEnum):
    """Protection of a connection."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


class LoginMethod(StrEnum):
    """How we log in to a server."""

    NONE = "none"
    BASIC = "basic"
    OAUTH = "oauth"


class IncomingProtocol(StrEnum):
    """Protocol of an incoming server; the S forms are the same over implicit TLS (RFC 8314)."""

    IMAP = "imap"
    IMAPS = "imaps"
    POP3 = "pop3"
    POP3S = "pop3s"

    @property
    def has_folders(self) -> bool:
        """Whether there are folders; POP3 knows one maildrop, which is called INBOX here."""
        return self in (IncomingProtocol.IMAP, IncomingProtocol.IMAPS)


class UnknownPolicy(StrEnum):
    """What to do with a delivery whose outcome is unknown (docs/concepts.md#unknown)."""

    VERIFY = "verify"
    AT_MOST_ONCE = "at_most_once"
    AT_LEAST_ONCE = "at_least_once"


class SentCopyRule(StrEnum):
    """Whether we put a copy of each sent mail into the Sent folder (docs/providers.md)."""

    AUTO = "auto"
    """Unless the provider is known to do it."""
    ALWAYS = "always"
    NEVER = "never"


HostName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.\-:]*[A-Za-z0-9])?$", max_length=253)
]
Login = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=320)]


class _Server(Request):
    host: HostName
    port: int = Field(ge=1, le=65535)
    security: Security = Security.TLS
    login: LoginMethod = LoginMethod.BASIC
    username: Login | None = None
    check_server_identity: bool = True
    connection_timeout_ms: int = Field(default=20_000, ge=100, le=600_000)

    @model_validator(mode="after")
    def _login_has_a_name(self) -> Self:
        if self.login is not LoginMethod.NONE and not self.username:
            raise ValueError("username: required unless login is 'none'")
        return self


class OutgoingServer(_Server):
    """An SMTP submission server (RFC 6409)."""

    port: int = Field(default=587, ge=1, le=65535)
    security: Security = Security.STARTTLS


class IncomingServer(_Server):
    """A server that mail is retrieved from."""

    protocol: IncomingProtocol = IncomingProtocol.IMAPS
    port: int = Field(default=993, ge=1, le=65535)

    @model_validator(mode="after")
    def _s_means_tls(self) -> Self:
        implicit = self.protocol in (IncomingProtocol.IMAPS, IncomingProtocol.POP3S)
        if implicit and self.security is not Security.TLS:
            raise ValueError(f"security: protocol {self.protocol} needs 'tls'")
        return self


class AccountSettings(Request):
    """What a person sets about an account."""

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")
    ]
    email_address: AddrSpec
    full_name: Annotated[
        str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f\x85\u2028\u2029]*$")
    ] = ""
    outgoing: OutgoingServer | None = None
    incoming: IncomingServer | None = None
    retrieval: RetrievalOptions = RetrievalOptions()
    unknown_policy: UnknownPolicy = UnknownPolicy.VERIFY
    max_send_attempts: int | None = Field(default=None, ge=0, le=1000)
    """Further attempts after the first; 0 = none; absent = until ``give_up_after_seconds``."""
    give_up_after_seconds: int = Field(default=5 * 24 * 3600, ge=1, le=366 * 24 * 3600)
    provider: ProviderName | None = None
    """Whose servers these are; absent = told by the outgoing server's host."""
    sent_copy: SentCopyRule = SentCopyRule.AUTO
    sent_folder: (
        Annotated[
            str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")
        ]
        | None
    ) = None
    """Folder of sent mails on a server that marks none as such (RFC 6154)."""

    max_connections: int | None = Field(default=None, ge=1, le=1000)
    """SMTP connections at once, over all workers; absent = what is known of the provider."""

    @model_validator(mode="after")
    def _has_a_side(self) -> Self:
        if self.outgoing is None and self.incoming is None:
            raise ValueError("outgoing: an account needs an outgoing or an incoming server")
        return self


class EmailAccount(AccountSettings):
    """A stored account."""

    id: str
    created_at: UtcDatetime


class AccountReference(Request):
    """An account by id or name."""

    account: Reference


class CheckServerConnectionInput(AccountReference):
    """Input of ``CheckServerConnection``."""


class ServerCheck(Payload):
    """What was found on one side of an account."""

    account_id: str
    configured: bool = True
    ok: bool
    error_type: ErrorType | None = None
    explanation: str
    capabilities: list[str] = Field(default_factory=list)


class CheckServerConnectionResult(Payload):
    """Result of ``CheckServerConnection``; a side that is not configured is absent."""

    account_id: str
    ok: bool
    outgoing: ServerCheck | None = None
    incoming: ServerCheck | None = None
