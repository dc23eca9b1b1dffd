"""POP3 mailboxes (RFC 1939): ``MailboxConnector`` and ``Mailbox`` of the ports.

POP3 numbers mails anew in each session and names them by UIDLs. Behind the port, each UIDL has a
number that stays (``activities.ports.UidlNumbers``), and the maildrop is the one folder INBOX.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Final, NoReturn

from activities.mail.errors import server_name
from activities.mail.imap_wires import Wires
from activities.mail.pop3_listing import sizes, uidls
from activities.mail.pop3_login import log_in
from activities.mail.pop3_reply import refusal
from activities.mail.pop3_wire import Pop3Wire, TooLong
from activities.ports import (
    Endpoint,
    FetchedMail,
    FolderState,
    Mailbox,
    Tracing,
    UidlNumbers,
)
from activities.unwatched import NO_TRACING
from models.errors import ConnectorError, ErrorType
from models.mailbox import FolderInfo, Handling

INBOX: Final = "INBOX"
MAX_MAIL: Final = 256 * 1024 * 1024
_AHEAD: Final = 20
"""Commands sent before their answers where the server allows it (PIPELINING, RFC 2449 §6.6)."""
_ABOVE_IMAP: Final = 1 << 62


class Pop3Connector:
    """Opens POP3 mailboxes.

    Args:
        numbers: Gives mails their numbers.
        max_mail: Octets of the largest mail that is fetched.
        tracing: Where the commands are written down.
    """

    def __init__(
        self, numbers: UidlNumbers, max_mail: int = MAX_MAIL, tracing: Tracing = NO_TRACING
    ) -> None:
        self._numbers = numbers
        self._max_mail = max_mail
        self._wires = Wires(tracing)

    @contextmanager
    def connect(self, endpoint: Endpoint) -> Iterator[Mailbox]:
        """Connect, secure and log in; leaving changes nothing on the server.

        Raises:
            ConnectorError: Any of it failed; ``MailboxBusy`` when another session has the
                maildrop, where the server says so.
        """
        mailbox = Pop3Mailbox(
            endpoint, lambda: log_in(endpoint, self._wires), self._numbers, self._max_mail
        )
        try:
            yield mailbox
        finally:
            mailbox.leave()

    def cut(self) -> None:
        """Cut all connections, from any thread: for whoever uses them they are lost."""
        self._wires.cut()


class Pop3Mailbox:
    """A maildrop; after an error it is of no more use.

    Args:
        endpoint: The server.
        log_in: Opens a session.
        numbers: Gives mails their numbers.
        max_mail: Octets of the largest mail that is fetched.
    """

    handlings: frozenset[Handling] = frozenset({Handling.NONE, Handling.REMOVE})

    def __init__(
        self,
        endpoint: Endpoint,
        log_in: Callable[[], tuple[Pop3Wire, frozenset[str]]],
        numbers: UidlNumbers,
        max_mail: int = MAX_MAIL,
    ) -> None:
        self._endpoint = endpoint
        self._log_in = log_in
        self._numbers = numbers
        self._max_mail = max_mail
        self._writable = self._fetched = self._over = False
        self._mails: dict[int, int] | None = None
        """Message numbers of this session by our own."""
        self._copies: list[set[int]] = []
        """Our numbers of mails that share a UIDL."""
        self._wire, self.capabilities = log_in()

    # --- Folders

    def folders(self) -> list[FolderInfo]:
        """The one there is."""
        return [FolderInfo(name=INBOX)]

    def exists(self, folder: str) -> bool:
        """Whether ``folder`` is the maildrop; raises as ``open`` does if it cannot be used."""
        if folder != INBOX:
            return False
        uidls(self._wire)
        return True

    def sent_folder(self) -> str | None:
        """None: there is no other folder."""
        return None

    def open(self, folder: str, *, read_only: bool) -> FolderState:
        """List and number the mails.

        Raises:
            ConnectorError: ``FolderNotFound`` for any other than INBOX; ``CapabilityMissing``
                when the server knows no UIDLs.
        """
        if folder != INBOX:
            raise self._error(
                ErrorType.FOLDER_NOT_FOUND,
                "POP3 knows no folders; its mails are in INBOX.",
                "folder",
            )
        self._writable = not read_only
        return self._listed()

    def _listed(self) -> FolderState:
        if self._endpoint.account_id is None:
            raise self._error(ErrorType.INTERNAL, "the maildrop belongs to no account.")
        validity = _validity(self._endpoint)
        present = uidls(self._wire)
        numbered = self._numbers.number(self._endpoint.account_id, validity, list(present.values()))
        self._mails = dict(zip(numbered.uids, present, strict=True))
        self._copies = _shared(zip(numbered.uids, present.values(), strict=True))
        return FolderState(validity, numbered.uid_next, len(present))

    # --- Reading

    def uids(self, ranges: Sequence[tuple[int, int]]) -> list[int]:
        """Our numbers of the mails that are there within ``ranges`` (inclusive), ascending."""
        present = sorted(self._opened())
        found: set[int] = set()
        for first, last in ranges:
            found.update(present[bisect_left(present, first) : bisect_right(present, last)])
        return sorted(found)

    def fetch(self, uids: Sequence[int]) -> Iterator[FetchedMail]:
        """The mails that still exist, in the order of ``uids``.

        Exhaust the iterator before the next call: one that is left early drops the connection.

        Raises:
            ConnectorError: ``MessageTooLarge`` before any mail is read, where the server announces
                a size above the limit; the detail ``uid`` is the mail it is about.
        """
        mails = self._opened()
        wanted = [(uid, mails[uid]) for uid in dict.fromkeys(uids) if uid in mails]
        return self._fetch(wanted)

    def _fetch(self, wanted: Sequence[tuple[int, int]]) -> Iterator[FetchedMail]:
        if not wanted:
            return
        announced = sizes(self._wire)
        for uid, number in wanted:
            if announced.get(number, 0) > self._max_mail:
                raise self._too_large(uid)
        wire = self._wire
        wire.reserved = self._fetched = True
        complete = False
        try:
            for uid, number in self._asked("RETR", wanted):
                raw = self._content(uid, announced.get(number))
                yield FetchedMail(uid, raw)
            complete = True
        finally:
            wire.reserved = False
            if not complete:
                wire.close()

    def _content(self, uid: int, announced: int | None) -> bytes:
        try:
            raw = self._wire.content(self._max_mail + 2)
        except TooLong:
            raise self._too_large(uid) from None
        if not raw and announced:
            raise self._wire.failure(
                ErrorType.SERVER_UNAVAILABLE,
                f"mail {uid} has {announced} octets, but the server gives none of them. Try again "
                "later.",
                uid=uid,
            )
        # A mail whose last line has no end gets one on the wire: the size tells (IMAP gives it as
        # it is, and the same mail must be the same octets whatever brought it).
        if announced == len(raw) - 2 and raw.endswith(b"\r\n"):
            raw = raw[:-2]
        if len(raw) > self._max_mail:
            raise self._too_large(uid)
        return raw

    def _asked(self, verb: str, wanted: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Send ``verb`` for each mail; yield those whose +OK has just been read."""
        wire, window = self._wire, _AHEAD if "PIPELINING" in self.capabilities else 1
        queue, sent = deque(wanted), deque[tuple[int, int]]()
        while queue or sent:
            while queue and len(sent) < window:
                sent.append(queue.popleft())
                wire.command(verb, str(sent[-1][1]))
            uid, number = sent.popleft()
            with wire.step(verb):
                wire.restart()
                reply = wire.reply()
                if not reply.ok:
                    wire.close()
                    raise refusal(self._endpoint, verb, reply, uid=uid)
                yield uid, number

    def find_by_message_id(self, folder: str, message_id: str) -> list[int]:  # noqa: ARG002
        """Refused: POP3 cannot search."""
        self._cannot("search")

    # --- Changing

    def remove(self, uids: Sequence[int]) -> None:
        """DELE, then QUIT, which alone makes it happen (RFC 1939 §6).

        On return the server has removed them. When it fails before QUIT, nothing is removed; when
        the connection is lost after QUIT was sent, that is unknown, and a repeat sees by the UIDLs
        which are left. The next removal logs in again.
        """
        if not self._writable:
            raise self._error(ErrorType.INTERNAL, "the folder is open for reading only.")
        if self._over:
            self._log_in_again()
        mails = self._opened()
        present = [(uid, mails[uid]) for uid in dict.fromkeys(uids) if uid in mails]
        if not present:
            return
        wire = self._wire
        try:
            self._tell_apart(dict(present))
            for _ in self._asked("DELE", present):
                pass
            with wire.step("QUIT"):
                wire.command("QUIT")
                reply = wire.reply()
                if not reply.ok:  # some or all of them are still there (§6)
                    raise refusal(self._endpoint, "removing mails", reply)
        finally:
            # Dropped without QUIT, the session removes nothing.
            wire.close()
            self._over = True

    def _tell_apart(self, doomed: Mapping[int, int]) -> None:
        """Make sure that no other mail goes in the place of one of these.

        Mails that share a UIDL may be told in another order in each session. That harms nobody when
        all of them go, or when they are the same octets; otherwise nothing is removed.
        """
        mails = self._opened()
        for copies in self._copies:
            if not copies.intersection(doomed) or copies <= doomed.keys():
                continue
            wanted = [(uid, mails[uid]) for uid in sorted(copies)]
            digests = {
                hashlib.sha256(self._wire.content(self._max_mail + 2)).digest()
                for _ in self._asked("RETR", wanted)
            }
            if len(digests) > 1:
                raise self._error(
                    ErrorType.CAPABILITY_MISSING,
                    "it gives different mails one UIDL, so that one cannot be removed for certain. "
                    "Nothing was removed; use handling 'none'.",
                    "handling",
                )

    def move(self, uids: Sequence[int], target: str) -> None:  # noqa: ARG002
        """Refused: there is no other folder."""
        self._cannot("move mails")

    def append(
        self,
        folder: str,  # noqa: ARG002
        raw: bytes,  # noqa: ARG002
        when: datetime | None = None,  # noqa: ARG002
        *,
        seen: bool = True,  # noqa: ARG002
    ) -> int | None:
        """Refused: POP3 only gives."""
        self._cannot("store mails")

    def leave(self) -> None:
        """Disconnect: with QUIT where nothing was read, without it otherwise.

        Servers may be set up to remove at QUIT whatever was read (RFC 1939 §8, RFC 2449 §6.7),
        stored or not. A session that ends without it must change nothing (RFC 1939 §6).
        """
        wire = self._wire
        if wire.closed or wire.reserved:
            wire.close()
        elif self._fetched:
            wire.hang_up()
        else:
            # Waiting for the answer: until then the maildrop is locked, against us as well.
            with suppress(ConnectorError), wire.step("QUIT"):
                wire.command("QUIT")
                wire.reply()
            wire.close()

    # --- Checks and errors

    def _log_in_again(self) -> None:
        self._mails = None
        self._wire, self.capabilities = self._log_in()
        self._fetched = self._over = False
        self._listed()

    def _opened(self) -> dict[int, int]:
        if self._wire.reserved:
            raise self._error(ErrorType.INTERNAL, "it was used while its fetch was not finished.")
        if self._mails is None:
            raise self._error(ErrorType.INTERNAL, "no folder is open.")
        return self._mails

    def _too_large(self, uid: int) -> ConnectorError:
        return ConnectorError(
            ErrorType.MESSAGE_TOO_LARGE,
            f"{server_name(self._endpoint)}: a mail is larger than {self._max_mail} octets.",
            detail={"uid": uid},
        )

    def _cannot(self, what: str) -> NoReturn:
        raise self._error(ErrorType.CAPABILITY_MISSING, f"POP3 cannot {what}; use an IMAP server.")

    def _error(self, type_: ErrorType, message: str, field: str | None = None) -> ConnectorError:
        return ConnectorError(type_, f"{server_name(self._endpoint)}: {message}", field=field)


def _shared(mails: Iterable[tuple[int, str]]) -> list[set[int]]:
    """Numbers of mails that have one UIDL, though each should have its own (RFC 1939 §7)."""
    by_uidl: dict[str, set[int]] = {}
    for uid, uidl in mails:
        by_uidl.setdefault(uidl, set()).add(uid)
    return [copies for copies in by_uidl.values() if len(copies) > 1]


def _validity(endpoint: Endpoint) -> int:
    """What stands for UIDVALIDITY: another server or user is another maildrop.

    Larger than any of IMAP (RFC 9051 §2.3.1.1: 32 bits): when an account changes its protocol,
    the numbers of the one must not be taken for those of the other. Port and TLS do not count.
    """
    name = f"{endpoint.host.lower().rstrip('.')}\0{endpoint.username}"
    return _ABOVE_IMAP | int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
