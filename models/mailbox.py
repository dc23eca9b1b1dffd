"""Retrieval of mail from a folder: options, batches, results (design: docs/architecture.md)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from models.base import Payload, Reference, Request, UtcDatetime
from models.callback import Callback
from models.failure import Failure


def _inbox(name: str) -> str:
    # RFC 9051 §5.1: INBOX is the one name whose case does not matter. Two spellings must not
    # become two folders with two leases.
    return "INBOX" if name.upper() == "INBOX" else name


FolderName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$"),
    AfterValidator(_inbox),
]
"""Mailbox name as a person reads it (decoded from modified UTF-7), without control characters."""

MAX_BATCH_SIZE = 200
"""A batch travels in one payload, whose summaries must fit into 64 KB."""


class FetchStrategy(StrEnum):
    """Which mails come first among those not replicated yet."""

    LATEST = "latest"
    OLDEST = "oldest"


class Handling(StrEnum):
    """What happens to a mail on the server once it is stored and acknowledged."""

    NONE = "none"
    REMOVE = "remove"
    MOVE = "move"


class RetrievalOptions(Request):
    """How a folder is replicated; the account holds the defaults, a run may override each."""

    folder: FolderName = "INBOX"
    number_of_emails: int = Field(default=50, ge=1, le=1_000_000)
    fetch_strategy: FetchStrategy = FetchStrategy.LATEST
    replicate_everything: bool = False
    batch_size: int = Field(default=100, ge=1, le=MAX_BATCH_SIZE)
    handling: Handling = Handling.NONE
    move_folder: FolderName | None = None
    render_inline_images: bool = False
    sanitize: bool = True
    subscribe: bool = False

    @model_validator(mode="after")
    def _move_needs_a_target(self) -> Self:
        if self.handling is Handling.MOVE and not self.move_folder:
            raise ValueError("move_folder: required when handling is 'move'")
        if self.handling is Handling.MOVE and self.move_folder == self.folder:
            raise ValueError("move_folder: must differ from folder")
        return self


class RetrievalOverrides(Request):
    """The options a single run may override; absent = the account's value."""

    folder: FolderName | None = None
    number_of_emails: int | None = Field(default=None, ge=1, le=1_000_000)
    fetch_strategy: FetchStrategy | None = None
    replicate_everything: bool | None = None
    batch_size: int | None = Field(default=None, ge=1, le=MAX_BATCH_SIZE)
    handling: Handling | None = None
    move_folder: FolderName | None = None
    render_inline_images: bool | None = None
    sanitize: bool | None = None

    def applied_to(self, defaults: RetrievalOptions) -> RetrievalOptions:
        """Return ``defaults`` with the given options replaced, validated as a whole."""
        given = {name: getattr(self, name) for name in RetrievalOverrides.model_fields}
        merged = defaults.model_dump() | {k: v for k, v in given.items() if v is not None}
        return RetrievalOptions.model_validate(merged)


class Consumer(RetrievalOverrides):
    """Who retrieves: each consumer has its own cursor over the same stored mail."""

    consumer: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-]{1,64}$")] = "default"


class Rewind(Request):
    """Which stored mails of a folder are told again; give one of the fields.

    Attributes:
        since: Those that were stored from then on.
        from_uid: Those whose UID is that or a higher one.
        message_id: This one, by our id.
    """

    since: UtcDatetime | None = None
    from_uid: Annotated[int, Field(ge=1, le=0xFFFFFFFF)] | None = None
    message_id: Reference | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.since, self.from_uid, self.message_id)) != 1:
            raise ValueError("give one of since, from_uid and message_id")
        return self


class RetrieveEmailMessagesInput(Consumer):
    """Input of ``RetrieveEmailMessages``.

    With ``rewind`` nothing is retrieved: the callback gets stored mails again, oldest first, in
    batches of their own. The server is not asked, nothing is handled on it, and the consumer's
    place in the folder stays where it is.
    """

    account: Reference
    rewind: Rewind | None = None
    on_email_fetch: Callback | None = None
    on_fetch_complete: Callback | None = None
    on_fetch_error: Callback | None = None


class RetrievalProgress(Payload):
    """Answer of the query ``progress``; numbers of mails and batches.

    ``paused``: no batch is fetched and no callback begins until the signal ``resume``.
    """

    retrieval_id: str
    folder: str
    total: int
    batches: int
    next_batch: int = 0
    retrieved: int = 0
    known: int = 0
    handled: int = 0
    quarantined: int = 0
    skipped: int = 0
    paused: bool = False


class OpenRetrievalInput(Payload):
    """Input of ``mailbox.open_retrieval``."""

    retrieval_id: str
    owner: str
    account: str
    consumer: str
    overrides: RetrievalOverrides
    rewind: Rewind | None = None


class RetrievalPlan(Payload):
    """What a run has to do: ids, counts and times. The UIDs themselves stay in the store."""

    retrieval_id: str
    owner: str
    account_id: str
    folder_id: str
    folder: str
    consumer: str
    total: int
    batches: int
    unsettled: list[str] = Field(default_factory=list)
    """Batches of earlier runs that were acknowledged but not yet settled."""
    closed: bool = False
    """Whether the run is over: there is nothing to retrieve, and the folder is free again."""
    one_session: bool = False
    """Whether the server lets in one session at a time (RFC 1939 §4): steps come one by one."""
    heartbeat_timeout_seconds: float
    patience_seconds: float


class RetrievalRun(RetrieveEmailMessagesInput):
    """What the workflow carries over continue-as-new; clients leave the two fields out."""

    plan: RetrievalPlan | None = None
    progress: RetrievalProgress | None = None


class BatchInput(Payload):
    """Input of ``mailbox.fetch_batch``."""

    retrieval_id: str
    number: int


class BatchResult(Payload):
    """Result of ``mailbox.fetch_batch``: the batch for the callback, and numbers of mails."""

    batch: FetchedBatch
    known: int
    quarantined: int
    skipped: int


class SettleBatchInput(Payload):
    """Input of ``mailbox.settle_batch``: the callback has completed."""

    batch_id: str
    owner: str


class SettleBatchResult(Payload):
    """Result of ``mailbox.settle_batch``: how many mails were removed or moved."""

    handled: int


class CloseRetrievalInput(Payload):
    """Input of ``mailbox.close_retrieval``."""

    retrieval_id: str
    owner: str
    account_id: str
    folder_id: str
    error: Failure | None = None


class MessageSummary(Payload):
    """A replicated mail as a callback sees it; the content is read by ``GetEmailMessage``.

    Text fields are cut so that a batch stays below 64 KB; ``truncated`` says so.
    """

    id: str
    uid: int
    subject: str = ""
    sender: str = ""
    to: list[str] = Field(default_factory=list)
    date: UtcDatetime | None = None
    size: int
    attachments: int = 0
    quarantined: bool = False
    truncated: bool = False


class FetchedBatch(Payload):
    """What ``on_email_fetch`` gets: mails that are stored and committed."""

    batch_id: str
    account_id: str
    folder: str
    consumer: str
    messages: list[MessageSummary]


class FetchCompleted(Payload):
    """What ``on_fetch_complete`` gets."""

    retrieval_id: str
    account_id: str
    folder: str
    consumer: str
    retrieved: int
    batches: int


class FetchFailed(Payload):
    """What ``on_fetch_error`` gets."""

    retrieval_id: str
    account_id: str
    folder: str
    consumer: str
    retrieved: int
    error: Failure


class RetrieveEmailMessagesResult(Payload):
    """Result of ``RetrieveEmailMessages``; numbers of mails.

    ``retrieved`` were new to this consumer, ``known`` were already delivered to it (found again
    after a move or a UIDVALIDITY change), ``handled`` were removed or moved on the server,
    ``quarantined`` are stored raw because no reader understands them, ``skipped`` were larger than
    the limit and stay on the server.
    """

    retrieval_id: str
    account_id: str
    folder: str
    consumer: str
    retrieved: int
    known: int = 0
    batches: int
    handled: int
    quarantined: int
    skipped: int = 0


class GetFolderNamesInput(Request):
    """Input of ``GetFolderNames``: an account by id or name."""

    account: Reference


class FolderInfo(Payload):
    r"""One mailbox of an account; ``special_use`` as in RFC 6154, for example ``\Sent``."""

    name: str
    selectable: bool = True
    special_use: str | None = None


class GetFolderNamesResult(Payload):
    """Result of ``GetFolderNames``."""

    account_id: str
    folders: list[FolderInfo]


BatchResult.model_rebuild()
