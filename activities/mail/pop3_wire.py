"""The bytes between us and a POP3 server (RFC 1939): replies, listings and mails, all bounded."""

from __future__ import annotations

import contextlib
import re
import socket
from typing import ClassVar, Final

from activities.mail.imap_wire import CRLF, Wire
from activities.mail.pop3_reply import Reply
from models.errors import ConnectorError, ErrorType

MAX_REPLY: Final = 4096
"""Octets of a status line. RFC 2449 §4 allows 512; some servers quote long addresses."""
MAX_LISTING: Final = 32 * 1024 * 1024
"""Octets of CAPA, LIST or UIDL: half a million mails whose UIDLs have the full 70."""
_END: Final = b"\r\n.\r\n"
_STUFFED: Final = b"\r\n."
_PROGRESS: Final = 16 * 1024
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")


class TooLong(Exception):  # noqa: N818  # it never leaves the adapter
    """A multi-line answer is longer than was allowed; the connection is closed."""


class Pop3Wire(Wire):
    """A connection, read by replies and multi-line answers.

    Lines end with CRLF and nothing else. Who takes a bare LF for the end of a line as well, as
    poplib does, ends a mail early at a dot between two of them, and takes the rest for replies.
    """

    protocol: ClassVar[str] = "POP3"

    def command(self, verb: str, *arguments: str) -> None:
        """Send a command; the answer to it gets its whole time.

        Raises:
            ConnectorError: ``InvalidInput`` when an argument holds a control character.
        """
        line = " ".join((verb, *arguments)).encode()
        if _CONTROL.search(line):
            raise ConnectorError(
                ErrorType.INVALID_INPUT,
                "A value has a line break or another control character, which no POP3 command "
                "can hold. Nothing was sent.",
            )
        self.restart()
        self.send(line + CRLF)

    def reply(self) -> Reply:
        """Return the next status line (RFC 1939 §3)."""
        reply = Reply.parse(self._exact_line())
        if reply is None:
            raise self.violation("an answer is neither +OK nor -ERR")
        return reply

    def challenge(self) -> Reply | None:
        """Return None when the server wants us to go on (RFC 5034 §4), else what it says."""
        line = self._exact_line()
        if line == b"+" or line.startswith(b"+ "):
            return None
        reply = Reply.parse(line)
        if reply is None or reply.ok:
            raise self.violation("the answer to AUTH is neither a challenge nor -ERR")
        return reply

    def listing(self) -> list[bytes]:
        """Return the lines of a multi-line answer after its status line."""
        try:
            content = self.content(MAX_LISTING)
        except TooLong:
            raise self.violation("a listing does not end") from None
        if content and not content.endswith(CRLF):
            raise self.violation("a listing's last line has no end")
        return content.split(CRLF)[:-1]

    def content(self, limit: int) -> bytes:
        """Return a multi-line answer after its status line, exactly, without dot-stuffing.

        Raises:
            TooLong: It has more than ``limit`` octets.
            ConnectorError: It does not end in time.
        """
        self.restart()
        content = self._until_end(limit)
        if content.startswith(b"."):
            content = content[1:]
        content = content.replace(_STUFFED, CRLF)
        if len(content) > limit:
            self.close()
            raise TooLong
        return content

    def hang_up(self) -> None:
        """Leave without QUIT, and wait until the server has noticed: its lock is gone then."""
        with contextlib.suppress(OSError, ConnectorError):
            self.restart()
            # Below TLS, whose own way to say it is not known to all servers.
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
            while True:
                self._receive()
        self.close()

    def _until_end(self, limit: int) -> bytes:
        """The octets before the line with the dot."""
        start = self._at
        if self._buffer.startswith(_END[2:], start):
            self._at = start + len(_END) - 2
            return b""
        end = self._buffer.find(_END, start)
        if end >= 0:
            self._at = end + len(_END)
            return self._buffer[start : end + 2]
        # The line end before the content is part of what ends it: ".\r\n" alone is no content.
        whole = bytearray(CRLF)
        whole += self._buffer[start:]
        paid = len(whole)
        while True:
            # Stuffing makes three octets, a dot and its line end, at most four.
            if len(whole) > limit * 4 // 3 + len(_END):
                self.close()
                raise TooLong
            chunk = self._receive()
            sought = max(0, len(whole) - len(_END) + 1)
            whole += chunk
            end = whole.find(_END, sought)
            if end >= 0:
                after = len(whole) - end - len(_END)
                self._buffer, self._at = chunk, len(chunk) - after
                return bytes(memoryview(whole)[2 : end + 2])
            if len(whole) - paid >= _PROGRESS:
                paid = len(whole)
                self.restart()

    def _exact_line(self) -> bytes:
        line = self._line(MAX_REPLY)
        if not line.endswith(b"\r"):
            raise self.violation("a line does not end with CRLF")
        return line[:-1]
