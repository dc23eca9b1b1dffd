"""IMAP mailboxes (RFC 3501, RFC 9051): ``MailboxConnector`` and ``Mailbox`` of the ports."""

from __future__ import annotations

import imaplib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from imapclient import DELETED

from activities.mail import imap_fetch, imap_folders, imap_message_ids, imap_search
from activities.mail.errors import server_name
from activities.mail.imap_copy import confirm_copy
from activities.mail.imap_guard import GuardedClient, understood
from activities.mail.imap_login import log_in
from activities.mail.imap_refusal import Refused, refusal, refusal_type
from activities.mail.imap_sets import MAX_UID, Range, ranges_of, rendered
from activities.mail.imap_text import Literal, flag_list, folder_name, message_literal, quoted
from activities.mail.imap_wires import Wires
from activities.ports import Endpoint, FetchedMail, FolderState, Mailbox, Tracing
from activities.unwatched import NO_TRACING
from models.errors import ConnectorError, ErrorType
from models.mailbox import FolderInfo, Handling

MAX_LITERAL: Final = 256 * 1024 * 1024
_BATCH: Final = 100
"""Mails of one COPY, MOVE or STORE: few enough for any server to finish within the timeout."""


class ImapConnector:
    """Opens IMAP mailboxes.

    Args:
        max_literal: Octets of the largest mail that is fetched.
        tracing: Where the commands are written down.
    """

    def __init__(self, max_literal: int = MAX_LITERAL, tracing: Tracing = NO_TRACING) -> None:
        self._max_literal = max_literal
        self._wires = Wires(tracing)

    @contextmanager
    def connect(self, endpoint: Endpoint) -> Iterator[Mailbox]:
        """Connect, secure and log in; leaving logs out.

        Raises:
            ConnectorError: Any of it failed.
        """
        client = log_in(endpoint, self._wires)
        try:
            yield ImapMailbox(client, self._max_literal)
        finally:
            client.leave()

    def cut(self) -> None:
        """Cut all connections, from any thread: for whoever uses them they are lost."""
        self._wires.cut()


class ImapMailbox:
    """A logged-in connection; after an error other than a refusal it is of no more use."""

    def __init__(self, client: GuardedClient, max_literal: int = MAX_LITERAL) -> None:
        self.capabilities: frozenset[str] = frozenset(
            name.decode("ascii", "replace") for name in client.capabilities()
        )
        self.handlings = _handlings(self.capabilities)
        self._client = client
        self._engine = client.engine
        self._wire = client.engine.wire
        self._max_literal = max_literal
        self._writable = False

    # --- Folders

    def folders(self) -> list[FolderInfo]:
        """All folders, names decoded; those that cannot be named in a command not selectable."""
        extended = {"LIST-EXTENDED", "SPECIAL-USE"} <= self.capabilities
        with understood(self._wire, "listing the folders"):
            return imap_folders.listed(self._client, special_use=extended)

    def exists(self, folder: str) -> bool:
        """Whether ``folder`` can be selected."""
        with understood(self._wire, "looking for a folder"):
            return imap_folders.is_selectable(self._client, folder_name(folder))

    def sent_folder(self) -> str | None:
        r"""The folder that the server marks as \Sent (RFC 6154 §2)."""
        marked = (f.name for f in self.folders() if f.special_use == "\\Sent" and f.selectable)
        return next(marked, None)

    def open(self, folder: str, *, read_only: bool) -> FolderState:
        """EXAMINE or SELECT (RFC 9051 §6.3.2, §6.3.3).

        Raises:
            ConnectorError: ``FolderNotFound``; ``ServerRefused`` when it must be written to and
                cannot be.
        """
        name = folder_name(folder)
        with self._about(folder, "opening the folder", "folder"):
            # A failed SELECT leaves no folder selected.
            self._engine.state = "AUTH"
            self._writable = not read_only
            try:
                answer = self._client.select_folder(name, readonly=read_only)
            except imaplib.IMAP4.readonly:
                raise self._error(
                    ErrorType.SERVER_REFUSED, "the folder can only be read.", "folder"
                ) from None
            return self._state(answer)

    def _state(self, answer: dict[bytes, int]) -> FolderState:
        exists, validity = answer.get(b"EXISTS", 0), answer.get(b"UIDVALIDITY", 0)
        following = answer.get(b"UIDNEXT", 0)
        if not following:
            # Older servers leave it out (RFC 3501 §6.3.1); "*" is the last message.
            last = imap_search.search(self._engine, self._esearch, "UID", "*") if exists else []
            following = max((end for _, end in last), default=0) + 1
        if not (0 < validity <= MAX_UID and 0 < following <= MAX_UID + 1 and exists >= 0):
            raise self._wire.violation("the folder has no valid UIDVALIDITY, UIDNEXT or EXISTS")
        return FolderState(validity, following, exists, answer.get(b"HIGHESTMODSEQ"))

    # --- Reading

    def uids(self, ranges: Sequence[tuple[int, int]]) -> list[int]:
        """Existing UIDs within ``ranges`` (inclusive), ascending."""
        self._require_selected()
        with understood(self._wire, "searching the folder"):
            return imap_search.uids_within(self._engine, self._esearch, ranges)

    def fetch(self, uids: Sequence[int]) -> Iterator[FetchedMail]:
        r"""The mails (BODY.PEEK[], never \Seen) that still exist, in the order of ``uids``.

        Fast when they ascend. Exhaust the iterator before the next call: one that is left early
        drops the connection. ``imap_fetch.fetch`` names the errors.
        """
        self._require_selected()
        self._check(uids)
        return imap_fetch.fetch(self._wire, uids, self._max_literal)

    def find_by_message_id(self, folder: str, message_id: str) -> list[int]:
        """UIDs in ``folder`` of mails with this Message-ID, ascending; opens it read-only."""
        imap_search.message_id_criterion(message_id)  # refused before anything is sent
        state = self.open(folder, read_only=True)
        return imap_message_ids.find(self._engine, message_id, state)

    # --- Changing

    def move(self, uids: Sequence[int], target: str) -> None:
        """Move: MOVE (RFC 6851), else COPY, check COPYUID (RFC 4315), then remove what it names.

        UIDs that are gone are skipped, so repeating it is safe, but for one case: without MOVE,
        when the connection dies between COPY and removal. Nothing tells a repeat of the copies
        made, so those mails (100 at most) are in ``target`` twice. None is lost.

        Raises:
            ConnectorError: ``FolderNotFound`` for ``target``; ``CapabilityMissing`` before
                anything changed; ``ServerRefused`` when the server does not confirm each copy.
        """
        name = folder_name(target, "move_folder")
        atomic = "MOVE" in self.capabilities
        if not atomic:
            self._require_uidplus("move")
        self._require_selected(writable=True)
        for batch in self._batches(uids):
            (uid_set,) = rendered(batch)
            with self._about(target, "moving mails", "move_folder"):
                if atomic:
                    self._client.move(uid_set, name)
                else:
                    self._client.copy(uid_set, name)
                    copied = confirm_copy(self._engine.completion, batch)
                    self._remove(copied.confirmed)
                    if left := self.uids(copied.unconfirmed):
                        raise self._error(
                            ErrorType.SERVER_REFUSED,
                            f"the server did not confirm the copies of {len(left)} mails. They "
                            "were left where they are, and may be in the target as well.",
                            "move_folder",
                        )

    def remove(self, uids: Sequence[int]) -> None:
        r"""\Deleted and UID EXPUNGE (RFC 4315) of exactly these; never a bare EXPUNGE.

        Raises:
            ConnectorError: ``CapabilityMissing`` before anything changed.
        """
        self._require_uidplus("remove")
        self._require_selected(writable=True)
        for batch in self._batches(uids):
            with understood(self._wire, "removing mails"):
                self._remove(batch)

    def append(
        self, folder: str, raw: bytes, when: datetime | None = None, *, seen: bool = True
    ) -> int | None:
        """Add a mail to ``folder`` and return its UID where the server tells (APPENDUID).

        Not idempotent: after a lost connection, ask ``find_by_message_id`` before a repeat.

        Args:
            folder: Where to.
            raw: The mail, with CRLF line ends.
            when: Its INTERNALDATE; the server's time by default.
            seen: Whether it counts as read.
        """
        arguments: list[str | Literal] = [quoted(folder_name(folder))]
        arguments.append(flag_list(["\\Seen"] if seen else []))
        if when is not None:
            arguments.append(imaplib.Time2Internaldate(when.astimezone()))
        arguments.append(message_literal(raw))
        with self._about(folder, "storing a mail", "folder"):
            status = self._engine.run("APPEND", *arguments)
            return int(status.data.split()[1]) if status.code == "APPENDUID" else None

    def _remove(self, batch: Sequence[Range]) -> None:
        for uid_set in rendered(batch):
            self._client.add_flags(uid_set, DELETED, silent=True)
            self._client.uid_expunge(uid_set)

    # --- Checks and errors

    @property
    def _esearch(self) -> bool:
        return "ESEARCH" in self.capabilities

    def _batches(self, uids: Sequence[int]) -> Iterator[list[Range]]:
        self._check(uids)
        ordered = sorted(set(uids))
        for start in range(0, len(ordered), _BATCH):
            yield ranges_of(ordered[start : start + _BATCH])

    def _check(self, uids: Sequence[int]) -> None:
        if any(not 0 < uid <= MAX_UID for uid in uids):
            raise self._error(ErrorType.INVALID_INPUT, "a UID is a number of 32 bits.", "uids")

    def _require_uidplus(self, handling: str) -> None:
        if "UIDPLUS" not in self.capabilities:
            raise self._error(
                ErrorType.CAPABILITY_MISSING,
                f"handling '{handling}' needs UIDPLUS: without it, removing these mails could "
                "remove others. Nothing was changed; use another handling.",
                "handling",
            )

    def _require_selected(self, *, writable: bool = False) -> None:
        if self._engine.state != "SELECTED":
            raise self._error(ErrorType.INTERNAL, "no folder is open.")
        # Dovecot says OK to STORE and EXPUNGE in an examined folder, and does nothing.
        if writable and not self._writable:
            raise self._error(ErrorType.INTERNAL, "the folder is open for reading only.")

    def _error(self, type_: ErrorType, message: str, field: str | None = None) -> ConnectorError:
        name = server_name(self._wire.endpoint)
        return ConnectorError(type_, f"{name}: {message}", field=field)

    @contextmanager
    def _about(self, folder: str, what: str, field: str) -> Iterator[None]:
        """Tell a missing folder from other refusals; servers without codes are asked by LIST."""
        with understood(self._wire, what):
            try:
                yield
            except Refused as exc:
                type_ = refusal_type(exc.status)
                if exc.status.code in (None, "CANNOT") and not self.exists(folder):
                    type_ = ErrorType.FOLDER_NOT_FOUND
                about = field if type_ is ErrorType.FOLDER_NOT_FOUND else None
                raise refusal(self._wire.endpoint, what, exc.status, type_, field=about) from None


def _handlings(capabilities: frozenset[str]) -> frozenset[Handling]:
    """Without UIDPLUS a mail could only be removed together with other people's."""
    found = {Handling.NONE}
    if "UIDPLUS" in capabilities:
        found |= {Handling.REMOVE, Handling.MOVE}
    if "MOVE" in capabilities:
        found.add(Handling.MOVE)
    return frozenset(found)
