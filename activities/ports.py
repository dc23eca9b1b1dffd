"""What the activities need from the outside world, as Protocols; adapters live beside them.

Adapters raise only ``models.errors.ConnectorError``; everything a peer can do wrong is translated
at the adapter (``activities.mail.errors``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from pydantic import SecretStr

from models.account import IncomingProtocol, LoginMethod, Security
from models.delivery import Phase
from models.delivery_status import Notify, ReturnContent
from models.errors import ConnectorError, ErrorType
from models.mailbox import FolderInfo, Handling
from models.message import AttachmentPosition
from models.metrics import Metric
from models.subscription import ListenerNews, SubscribeForEmailNotificationInput


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to log in; built from an account's server and its decrypted secret."""

    host: str
    port: int
    security: Security
    login: LoginMethod
    username: str | None
    password: SecretStr | None
    timeout: timedelta
    check_identity: bool
    ca_file: str | None = None
    """Extra trust anchors (PEM); None = the system's."""
    max_connections: int | None = None
    """Connections at once that the account grants itself; None = what its provider allows."""
    credentials: CredentialSource | None = field(default=None, repr=False, compare=False)
    """Where the secret comes from when it is none that stays: it goes before ``password``."""
    protocol: IncomingProtocol | None = None
    """How mail is retrieved from there; None = IMAP, or a server that it is sent through."""
    account_id: str | None = None
    """Whose it is, where the store keeps something about the server itself."""


class CredentialSource(Protocol):
    """Gives an access token (RFC 6749 §1.4), or whatever else is good for a while only."""

    async def fresh(self, *, force: bool) -> SecretStr:
        """Return one that is good now.

        Args:
            force: The last one was refused, whatever its expiry says: get another.

        Raises:
            ConnectorError: There is none to be had, for now or until a person acts.
        """


# --- SMTP ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's reply (RFC 5321 §4.2), its text cut and cleaned of control characters."""

    code: int
    text: str
    enhanced_code: str | None = None
    retry_after: timedelta | None = None

    @property
    def accepted(self) -> bool:
        """2xx (or 3xx where a command expects it)."""
        return 200 <= self.code < 400

    @property
    def temporary(self) -> bool:
        """4xx: the same command may succeed later."""
        return 400 <= self.code < 500


@dataclass(frozen=True, slots=True)
class DsnRequest:
    """What the reports about a mail are to say, and when they are wanted (RFC 3461)."""

    envelope_id: str
    """Comes back in every report (ENVID)."""
    notify: tuple[Notify, ...] = ()
    """Empty: as the server does by itself."""
    ret: ReturnContent | None = None

    @property
    def asked(self) -> bool:
        """Whether the sender of the mail asked for something."""
        return bool(self.notify) or self.ret is not None


class SmtpSession(Protocol):
    """A logged-in connection.

    ``phase`` always tells how far the current transaction got, also after an exception.
    """

    @property
    def phase(self) -> Phase:
        """The last step that was begun."""

    @property
    def capabilities(self) -> frozenset[str]:
        """EHLO keywords in upper case, and AUTH=NAME for each way to log in."""

    @property
    def connected(self) -> bool:
        """Whether the connection can be used for a further mail."""

    async def envelope(
        self,
        sender: str,
        recipients: Sequence[str],
        size: int,
        *,
        ascii_only: bool = True,
        ascii_header: bool | None = None,
        dsn: DsnRequest | None = None,
        content_follows: bool = False,
    ) -> dict[str, Reply]:
        """MAIL, then RCPT for each recipient; the reply to each RCPT by address.

        ``ascii_only``: the content has no byte above 127; otherwise 8BITMIME is needed.
        ``ascii_header``: its header section has none; otherwise SMTPUTF8 is needed. By default
        as ``ascii_only``. ``dsn`` has no effect where ``DSN`` is not among the capabilities.
        ``content_follows``: ``body`` comes next if anybody is accepted, so DATA may go along.

        Raises:
            ConnectorError: MAIL was refused, the announced SIZE is too small, a needed extension
                is missing, or the connection failed.
        """

    async def body(self, content: bytes) -> None:
        """DATA and the whole content, dot-stuffed, without the final dot.

        Lines on the wire end with CRLF only, whatever ``content`` holds.
        """

    async def end_of_data(self, patience: timedelta) -> Reply:
        """The final dot; waits up to ``patience`` for the reply (RFC 5321 §4.5.3.2.6: 10 min)."""

    async def reset(self) -> None:
        """RSET: forget the transaction (only before ``body``)."""


class SmtpTransport(Protocol):
    """Opens sessions."""

    def session(self, endpoint: Endpoint) -> AbstractAsyncContextManager[SmtpSession]:
        """Connect, EHLO, STARTTLS as configured, log in.

        Leaving says QUIT, or drops the connection when a transaction is unfinished.
        """


class LeasedSession(SmtpSession, Protocol):
    """The right to one connection for a while, good for one mail after another.

    It connects when the first mail needs it (``open`` or ``envelope``), and again whenever the
    connection is gone, was idle and is dead, or has carried its share of mails. A mail for which a
    *kept* connection turns out to be dead at MAIL goes over a fresh one at once; after DATA has
    begun nothing is repeated. Between two mails::

        async with connections.lease(account_id, endpoint, patience) as session:
            for mail in mails:
                await session.ready()  # what this raises is no attempt of the mail
                ...  # begin_attempt, envelope, body, intend_dot, end_of_data, end_attempt
                if session.wanted:
                    break  # leave, and take a lease again: it is first come, first served
    """

    @property
    def connected(self) -> bool:
        """Whether there is a connection that can carry a further mail, as far as is known."""

    @property
    def mails(self) -> int:
        """Mails (final replies) that the present connection has carried."""

    @property
    def wanted(self) -> bool:
        """Whether somebody else, here or in another worker, waits for such a connection."""

    async def ready(self) -> None:
        """Before a mail: whether it may be tried at all. Talks to no server.

        Raises:
            ConnectorError: ``SlowedDown``, or ``ConnectionLimit`` when the right has lapsed (this
                worker was frozen) and cannot be had again. Both are no attempt.
        """

    async def open(self) -> None:
        """Make sure of a live, logged-in connection; raises as ``SmtpTransport.session`` does."""


class SmtpConnections(Protocol):
    """Connections that are kept for the next mail, within the limits of accounts and hosts."""

    def lease(
        self, account_id: str, endpoint: Endpoint, patience: timedelta
    ) -> AbstractAsyncContextManager[LeasedSession]:
        """Take the right to one connection of the account; leaving gives it back.

        Entering talks to no server.

        Raises:
            ConnectorError: ``ConnectionLimit`` when all were in use for all of ``patience``,
                ``SlowedDown`` when the server asked for a pause: nothing was tried. Or what the
                store or ``endpoint.credentials`` raised.
        """


class SendingLimits(Protocol):
    """How many connections an account and a host may have, over all workers."""

    async def take(self, account_id: str, endpoint: Endpoint) -> ConnectionPermit | None:
        """The right to open a connection; None when all are taken."""

    async def release(self, permit: ConnectionPermit) -> None:
        """Give it back, once the connection is closed."""


class ConnectionPermit(Protocol):
    """The right to one connection, for as long as it is not lost."""

    @property
    def lost(self) -> bool:
        """Whether others may have it by now, because it could not be renewed in time."""

    @property
    def wanted(self) -> bool:
        """Whether another worker waits for one like it."""

    @property
    def held_seconds(self) -> float:
        """How long this worker has had it."""


class SendingPauses(Protocol):
    """Pauses that a server asks for, within an account or for all who come from here."""

    async def check(self, account_id: str, host: str) -> None:
        """Raise ``SlowedDown`` while account or host is paused."""

    def asks_patience(self, host: str, phase: Phase, reply: Reply) -> bool:
        """Whether a reply asks us to send more slowly."""

    def heard(self, account_id: str, host: str, phase: Phase, reply: Reply) -> bool:
        """Note a refusal; True when it asks for patience, which begins at once."""

    def succeeded(self, account_id: str, host: str) -> None:
        """Note that a mail was accepted: who was asked for patience has had it."""


class SmtpFailure(ConnectorError):  # noqa: N818 (the contract speaks of failures)
    """A ``ConnectorError`` from SMTP.

    Args:
        type: What went wrong.
        message: What to do about it.
        phase: How far the transaction had got. Before ``Phase.DOT`` the server cannot have
            accepted the mail; from there on, without a reply, it may have.
        reply: What the server said, when it said something.
        field: Dotted path of the offending input field, when there is one.
        explanation: ``message`` without the words of ``reply``.
    """

    def __init__(
        self,
        type: ErrorType,
        message: str,
        *,
        phase: Phase,
        reply: Reply | None = None,
        field: str | None = None,
        explanation: str | None = None,
    ) -> None:
        self.phase = phase
        self.reply = reply
        detail: dict[str, str | int | None] = {"phase": phase.value}
        if reply is not None:
            detail |= {"code": reply.code, "enhanced_code": reply.enhanced_code}
        retry_after = reply.retry_after if reply is not None else None
        super().__init__(
            type,
            message,
            field=field,
            retry_after=retry_after,
            detail=detail,
            explanation=explanation,
        )


# --- Mailboxes ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FolderState:
    """A selected folder (RFC 9051 §6.3.2)."""

    uid_validity: int
    uid_next: int
    exists: int
    highest_modseq: int | None = None


@dataclass(frozen=True, slots=True)
class FetchedMail:
    """One mail as the server holds it."""

    uid: int
    raw: bytes
    internal_date: datetime | None = None


class Mailbox(Protocol):
    """A logged-in connection to a mailbox. Blocking; used by one thread."""

    capabilities: frozenset[str]
    handlings: frozenset[Handling]
    """What the server can do to single mails, and to no others along with them."""

    def folders(self) -> list[FolderInfo]:
        """All folders, names decoded."""

    def open(self, folder: str, *, read_only: bool) -> FolderState:
        """EXAMINE or SELECT. Raises ``FolderNotFound``."""

    def exists(self, folder: str) -> bool:
        """Whether ``folder`` can be selected."""

    def uids(self, ranges: Sequence[tuple[int, int]]) -> list[int]:
        """Existing UIDs within ``ranges`` (inclusive), ascending."""

    def fetch(self, uids: Sequence[int]) -> Iterator[FetchedMail]:
        r"""The mails (BODY.PEEK[], never \Seen) that still exist, in the order of ``uids``."""

    def move(self, uids: Sequence[int], target: str) -> None:
        """Move: MOVE (RFC 6851), else COPY, check COPYUID, then remove. Gone UIDs are skipped."""

    def sent_folder(self) -> str | None:
        r"""The folder marked \Sent (RFC 6154); never guessed by its name."""

    def find_by_message_id(self, folder: str, message_id: str) -> list[int]:
        """UIDs of the mails with exactly this Message-ID, ascending; opens ``folder`` to read."""

    def append(
        self, folder: str, raw: bytes, when: datetime | None = None, *, seen: bool = True
    ) -> int | None:
        """Add a mail; its UID where the server tells (APPENDUID, RFC 4315). Not idempotent."""

    def remove(self, uids: Sequence[int]) -> None:
        r"""Remove exactly these; on return the server has done it. Gone UIDs are skipped.

        \Deleted and UID EXPUNGE (RFC 4315), never a bare EXPUNGE; or DELE and QUIT (RFC 1939).
        """


@dataclass(frozen=True, slots=True)
class Numbered:
    """Numbers in place of UIDLs, in the same order, and the one that a new mail gets next."""

    uids: list[int]
    uid_next: int


class UidlNumbers(Protocol):
    """Numbers that stay with the mails of a POP3 maildrop, as UIDs do with those of a folder."""

    def number(self, account_id: str, uid_validity: int, uidls: Sequence[str]) -> Numbered:
        """Return the numbers of all mails that are in the maildrop now.

        New ones get ascending numbers, those of mails that are gone are forgotten; no number is
        ever given twice.

        Args:
            account_id: Whose maildrop it is.
            uid_validity: Which of the account's maildrops it is.
            uidls: The complete listing, in the server's order. Copies may share one (RFC 1939 §7).
        """


class MailboxConnector(Protocol):
    """Opens mailboxes."""

    def connect(self, endpoint: Endpoint) -> AbstractContextManager[Mailbox]:
        """Connect, secure and log in; leaving logs out."""


@dataclass(frozen=True, slots=True)
class WatchTiming:
    """The pace of a watch.

    Attributes:
        probe: After this the server has to prove that it is there.
        reply: How long it may take to.
        poll: The same as ``probe`` for a folder that can only be looked at.
    """

    probe: timedelta
    reply: timedelta
    poll: timedelta


class FolderWatch(Protocol):
    """A folder that is watched, over a connection of its own, read-only."""

    opened: FolderState
    """The folder as it was when the watch began."""

    @property
    def idles(self) -> bool:
        """Whether the server tells of new mail by itself (RFC 2177); else it is asked."""

    async def wait(self) -> int:
        """Wait for mail; returns how many arrived, 0 once the server has proven to be there.

        Raises:
            ConnectorError: The connection is lost, or the server no longer answers.
        """

    def close(self) -> None:
        """Log out without waiting, and disconnect."""


class FolderWatcher(Protocol):
    """Begins to watch folders."""

    async def open(self, endpoint: Endpoint, folder: str, timing: WatchTiming) -> FolderWatch:
        """Connect, log in and examine the folder.

        Raises:
            ConnectorError: Any of it failed.
        """


# --- Formats ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ParsedPart:
    """An attachment or inline part."""

    name: str
    content_type: str
    position: AttachmentPosition
    data: bytes
    content_id: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedMail:
    """A mail as read; every field is best effort. Addresses are (display name, addr-spec)."""

    message_id: str | None = None
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()
    subject: str = ""
    from_: tuple[tuple[str, str], ...] = ()
    to: tuple[tuple[str, str], ...] = ()
    cc: tuple[tuple[str, str], ...] = ()
    reply_to: tuple[tuple[str, str], ...] = ()
    date: datetime | None = None
    text: str | None = None
    html: str | None = None
    parts: tuple[ParsedPart, ...] = ()
    quarantined: str | None = None
    """Why no reader understood the mail; the raw bytes are kept all the same."""


@dataclass(frozen=True, slots=True)
class ThreadParent:
    """The stored mail that a new one answers or forwards, as far as threads need it."""

    message_id: str | None
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ComposedMail:
    """A mail ready for the wire. ``raw`` has CRLF line ends; Bcc is in the envelope only."""

    raw: bytes
    internet_message_id: str
    envelope_from: str
    subject: str
    sender: str
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    attachments: int = field(default=0)
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()


# --- The web ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WebReply:
    """A reply without its body (RFC 9110 §15)."""

    status: int
    retry_after: timedelta | None = None


class WebPoster(Protocol):
    """Posts to URLs that somebody else has given."""

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], patience: timedelta
    ) -> WebReply:
        """Post and return the reply, whatever its status; redirects are followed, guarded.

        Raises:
            ConnectorError: ``EgressRefused``, ``RedirectRefused``, or there was no reply.
        """


# --- Temporal -----------------------------------------------------------------------------------


class RunState(Enum):
    """State of a workflow as Temporal knows it."""

    RUNNING = "running"
    COMPLETED = "completed"
    ENDED = "ended"
    """Failed, cancelled, terminated or timed out."""
    MISSING = "missing"


class Runs(Protocol):
    """Asks Temporal about workflows: who holds a lease but is over holds nothing."""

    def state(self, workflow_id: str, first_run_id: str | None = None) -> RunState:
        """State of the latest run; MISSING when it is of another chain than ``first_run_id``.

        Raises:
            ConnectorError: ``StoreUnavailable`` when Temporal does not answer.
        """


class Subscriptions(Protocol):
    """The workflows that subscriptions are."""

    async def tell(self, workflow_id: str, first_run_id: str, news: ListenerNews) -> bool:
        """Tell one what its listener noticed; False when it is over.

        Raises:
            ConnectorError: ``StoreUnavailable`` when Temporal does not answer.
        """

    async def start(
        self, workflow_id: str, request: SubscribeForEmailNotificationInput, terms: str
    ) -> None:
        """See to it that one runs, on these terms (``terms_of``).

        Raises:
            ConnectorError: ``StateConflict`` when it runs on others; ``StoreUnavailable``.
        """


# --- Watching -----------------------------------------------------------------------------------


class Metrics(Protocol):
    """Where figures go. Never raises, may be called from any thread, and takes microseconds."""

    def add(self, metric: Metric, amount: int = 1, **labels: str) -> None:
        """Add to a counter."""

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Add a value to a histogram."""

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Set a gauge."""


class Span(Protocol):
    """A step of a trace."""

    def fact(self, name: str, value: str | int) -> None:
        """Note a code, a count or a size; never what a mail, a folder or a person is called."""


class Tracing(Protocol):
    """Where the steps of a conversation with a server are written down."""

    def command(self, protocol: str, verb: str, **facts: str | int) -> AbstractContextManager[Span]:
        """A step named by its verb alone; an error within leaves its type, not its text."""
