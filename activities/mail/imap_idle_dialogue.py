"""What is said during IDLE (RFC 2177), without a socket: octets in, events out.

A line may come in any number of pieces, and a server may send anything: lines and what comes
between two proofs of life are bounded.
"""

from __future__ import annotations

import re
from typing import Final

from activities.mail.imap_refusal import Status

MAX_LINE: Final = 8 * 1024
"""Longest line: nothing that is said in IDLE needs more."""
MAX_LITERAL: Final = 64 * 1024
_MAX_OCTETS: Final = 4 * 1024 * 1024
_MAX_LINES: Final = 50_000
_LITERAL: Final = re.compile(rb"\{(\d{1,10})\+?\}$")
_NUMBERED: Final = re.compile(rb"\* (\d{1,10}) (EXISTS|EXPUNGE)$", re.IGNORECASE)
_UID_NEXT: Final = re.compile(rb"\* OK \[UIDNEXT (\d{1,10})\]", re.IGNORECASE)
_UID_VALIDITY: Final = re.compile(rb"\* OK \[UIDVALIDITY (\d{1,10})\]", re.IGNORECASE)


class ViolationError(Exception):
    """The server breaks the protocol; says how."""


class Goodbye(Exception):  # noqa: N818 - no error: servers do it when they restart
    """The server has said BYE."""

    def __init__(self, status: Status) -> None:
        self.status = status
        super().__init__(status.word, status.code)


class Dialogue:
    """What a server has said so far in a selected folder.

    Attributes:
        exists: Mails in the folder.
        uid_next: The last UIDNEXT it named.
        uid_validity: The last UIDVALIDITY it named.
        arrived: Mails that came since this was last set to 0.
        invited: It has answered IDLE with a "+".
        completed: Status of the last command, by its tag.

    Args:
        exists: Mails in the folder as it begins.
        uid_next: Its UIDNEXT.
        uid_validity: Its UIDVALIDITY.
    """

    def __init__(self, exists: int, uid_next: int, uid_validity: int) -> None:
        self.exists = exists
        self.uid_next = uid_next
        self.uid_validity = uid_validity
        self.arrived = 0
        self.invited = False
        self.completed: dict[bytes, Status] = {}
        self._partial = b""
        self._literal = 0
        self._continues = False
        self._octets = self._lines = 0

    def proven(self) -> None:
        """The server has just answered: what it may say until the next time starts anew."""
        self._octets = self._lines = 0
        self.completed.clear()

    def feed(self, data: bytes) -> None:
        """Take in what was received.

        Raises:
            ViolationError: A line or a literal is too long, or the server says too much.
            Goodbye: It closes the connection.
        """
        self._octets += len(data)
        if self._octets > _MAX_OCTETS:
            raise ViolationError("it does not stop talking")
        data = self._partial + data
        self._partial = b""
        at = 0
        while at < len(data):
            if self._literal:
                skipped = min(self._literal, len(data) - at)
                self._literal -= skipped
                at += skipped
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._partial = data[at:]
                break
            self._line(data[at:end].removesuffix(b"\r"))
            at = end + 1
        if len(self._partial) > MAX_LINE:
            raise ViolationError(f"a line has more than {MAX_LINE} octets")

    def _line(self, line: bytes) -> None:
        self._lines += 1
        if self._lines > _MAX_LINES:
            raise ViolationError("it does not stop talking")
        if len(line) > MAX_LINE:
            raise ViolationError(f"a line has more than {MAX_LINE} octets")
        first = not self._continues
        literal = _LITERAL.search(line)
        self._continues = literal is not None
        if literal is not None:
            self._literal = int(literal[1])
            if self._literal > MAX_LITERAL:
                raise ViolationError(f"a literal of {self._literal} octets is announced")
        if first:
            self._response(line)

    def _response(self, line: bytes) -> None:
        if line.startswith(b"+"):
            self.invited = True
        elif line.startswith(b"* "):
            self._untagged(line)
        else:
            tag, _, rest = line.partition(b" ")
            status = Status.parse(rest)
            if status is None:
                raise ViolationError("that is no response")
            self.completed[tag] = status

    def _untagged(self, line: bytes) -> None:
        if (numbered := _NUMBERED.match(line)) is not None:
            self._count(int(numbered[1]), numbered[2].upper())
        elif (found := _UID_NEXT.match(line)) is not None:
            self._next_is(int(found[1]))
        elif (found := _UID_VALIDITY.match(line)) is not None:
            self.uid_validity = int(found[1])
        elif line[2:5].upper() == b"BYE":
            raise Goodbye(Status.parse(line[2:]) or Status("BYE"))

    def _count(self, number: int, what: bytes) -> None:
        if what == b"EXPUNGE":
            self.exists = max(0, self.exists - 1)
        else:
            came = max(0, number - self.exists)
            self.exists = number
            self.arrived += came
            self.uid_next += came

    def _next_is(self, uid_next: int) -> None:
        """EXAMINE has named UIDNEXT: mail may have come that is gone again, or hidden a removal."""
        self.arrived += max(0, uid_next - self.uid_next)
        self.uid_next = max(uid_next, self.uid_next)
