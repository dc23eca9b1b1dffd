"""IMAPClient on our own wire: limits, typed refusals, and no surprise from imaplib.

imaplib keeps every untagged response, sends what it is given, and tells failures by text. Its
reading, sending and completing of commands are replaced here; its state and parsing stay.
"""

from __future__ import annotations

import imaplib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

from imapclient import IMAPClient

from activities.mail.errors import server_name
from activities.mail.imap_refusal import Refused, Status, refusal
from activities.mail.imap_text import Literal
from activities.mail.imap_wire import CRLF, MAX_LINE, Wire
from models.account import Security
from models.errors import ConnectorError, ErrorType

MAX_ANSWER: Final = 4 * 1024 * 1024
MAX_SEARCH: Final = 24 * 1024 * 1024
"""SEARCH without ESEARCH names every message on one line; this is two million or more."""
_MAX_LINES: Final = 50_000
_NOISE: Final = frozenset({"FETCH", "EXPUNGE", "VANISHED", "RECENT", "FLAGS", "NO", "BAD"})
"""News of other sessions, which may be endless; nothing here asks for them."""
_UNREADABLE: Final = (
    imaplib.IMAP4.error,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    RecursionError,
)
"""What imaplib and IMAPClient raise over an answer they do not understand."""


class GuardedIMAP4(imaplib.IMAP4):
    """imaplib's protocol engine over a ``Wire``."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.max_line = MAX_LINE
        self.max_answer = MAX_ANSWER
        self.completion = Status("OK")
        """The last tagged OK; its code may be what the command is about."""
        self._octets = self._lines = 0
        super().__init__(wire.endpoint.host, wire.endpoint.port)

    # --- What imaplib calls its overridable methods

    def open(self, host: str = "", port: int = 143, timeout: float | None = None) -> None:
        """Do nothing: the wire is connected."""

    def read(self, size: int) -> bytes:
        """Return a literal; those that imaplib reads for us are names."""
        self._count(size)
        return self.wire.literal(size, MAX_LINE)

    def readline(self) -> bytes:
        """Return a line with its end."""
        line = self.wire.line(self.max_line)
        self._count(len(line))
        return line + CRLF

    def send(self, data: Any) -> None:
        """Send a command line or a part of it."""
        self.wire.send(bytes(data))

    def shutdown(self) -> None:
        """Drop the connection."""
        self.wire.close()

    # --- Commands

    def run(self, name: str, *arguments: str | Literal) -> Status:
        """Run a command whose arguments may be literals; imaplib sends one at most.

        Literals wait for the server's "+", so that it can refuse before a large one is sent.

        Raises:
            Refused: The server said NO or BAD.
            ConnectorError: The connection failed.
        """
        # All before the first octet leaves: half a command would make nonsense of the next one.
        encoded = [a if isinstance(a, Literal) else a.encode("ascii") for a in arguments]
        with self.wire.step(name):
            return self._run(name, encoded)

    def _run(self, name: str, encoded: Sequence[bytes]) -> Status:
        tag: bytes = self._new_tag()
        self._begin()
        line = tag + b" " + name.encode("ascii")
        for argument in encoded:
            if isinstance(argument, Literal):
                self.wire.send(line + b" {%d}" % len(argument) + CRLF)
                self._await_continuation(name, tag)
                self.wire.send_literal(argument)
                line = b""
            else:
                line += b" " + argument
        self.wire.send(line + CRLF)
        self._command_complete(name, tag)
        return self.completion

    def ask(self, name: str, *arguments: str) -> Status:
        """Run a command without literals."""
        self._simple_command(name, *arguments)
        return self.completion

    def answers(self, name: str) -> list[Any]:
        """Return the untagged responses ``name`` of the last command; none is none."""
        return [item for item in self.untagged_responses.pop(name, []) if item]

    def secure(self) -> None:
        """STARTTLS; all that was said in clear is forgotten (RFC 9051 §6.2.1)."""
        self._simple_command("STARTTLS")
        self.wire.secure()
        self._get_capabilities()

    @contextmanager
    def long_answers(self) -> Iterator[None]:
        """Allow the commands within to answer as SEARCH does."""
        self.max_line = self.max_answer = MAX_SEARCH
        try:
            yield
        finally:
            self.max_line, self.max_answer = MAX_LINE, MAX_ANSWER

    def _begin(self) -> None:
        if self.wire.reserved:
            raise ConnectorError(
                ErrorType.INTERNAL, "A mailbox was used while its fetch was not finished."
            )
        # Data of earlier commands would be taken for this one's answer.
        self.untagged_responses.clear()
        self._octets = self._lines = 0
        self.wire.restart()

    def _simple_command(self, name: str, *args: Any) -> tuple[str, list[bytes]]:
        verb = f"{name} {args[0]}" if name == "UID" and args else name
        with self.wire.step(verb):
            answer: tuple[str, list[bytes]] = cast(Any, super())._simple_command(name, *args)
            return answer

    def _command(self, name: str, *args: Any) -> bytes:
        self._begin()
        tag: bytes = cast(Any, super())._command(name, *args)
        return tag

    def _command_complete(self, name: str, tag: bytes) -> tuple[str, list[bytes]]:
        word, data = self._get_tagged_response(tag)
        status = Status.parse(word.encode("ascii") + b" " + data[-1])
        if status is None:
            raise self.wire.violation(f"{name} ended with a status that is none")
        if status.word in ("NO", "BAD"):
            raise Refused(status)
        self.completion = status
        return word, data

    def _await_continuation(self, name: str, tag: bytes) -> None:
        while self._get_response() is not None:
            if self.tagged_commands[tag] is not None:
                self._command_complete(name, tag)
                raise self.wire.violation("a command is complete before its literal was sent")

    def _append_untagged(self, typ: str, dat: Any) -> None:
        if typ == "BYE":
            status = Status.parse(b"BYE " + (dat if isinstance(dat, bytes) else b""))
            raise bye(self.wire, status)
        if typ not in _NOISE:
            self.untagged_responses.setdefault(typ, []).append(dat or b"")

    def _log(self, line: bytes) -> None:
        """Keep nothing: imaplib would hold the last ten lines, passwords among them."""

    def _count(self, octets: int) -> None:
        self._octets += octets
        self._lines += 1
        if self._octets > self.max_answer or self._lines > _MAX_LINES:
            raise self.wire.violation("an answer does not end")


class GuardedClient(IMAPClient):  # type: ignore[misc]  # IMAPClient publishes no types
    """IMAPClient on a ``GuardedIMAP4``; folder names in and out are in modified UTF-7."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        endpoint = wire.endpoint
        super().__init__(endpoint.host, endpoint.port, ssl=endpoint.security is Security.TLS)
        self.folder_encode = False
        # IMAPClient logs every line at level DEBUG: passwords and mail.
        self._imap.debug = 0

    def _create_IMAP4(self) -> GuardedIMAP4:  # noqa: N802  # IMAPClient's name
        return GuardedIMAP4(self._wire)

    def _set_read_timeout(self) -> None:
        """Do nothing: the wire has its own clock."""

    @property
    def engine(self) -> GuardedIMAP4:
        """What the commands are run on."""
        return cast(GuardedIMAP4, self._imap)

    def leave(self) -> None:
        """Log out where that is possible, without waiting for the answer, and disconnect."""
        wire = self._wire
        if not wire.closed and not wire.reserved:
            with suppress(ConnectorError):
                wire.send(b"Z LOGOUT" + CRLF)
        wire.close()


@contextmanager
def understood(wire: Wire, what: str) -> Iterator[None]:
    """Turn what a command raises into errors of the contract.

    Args:
        wire: The connection; it is dropped when an answer makes no sense.
        what: What we ask for: "opening the folder".
    """
    try:
        yield
    except Refused as exc:
        raise refusal(wire.endpoint, what, exc.status) from None
    except _UNREADABLE as exc:
        wire.close()
        # Without the cause: it quotes what the server sent, which may be mail or our password.
        raise ConnectorError(
            ErrorType.PROTOCOL_VIOLATION,
            f"{server_name(wire.endpoint)}, {what}: the server's answer makes no sense.",
            detail={"reason": type(exc).__name__},
        ) from None


def bye(wire: Wire, status: Status | None) -> ConnectorError:
    """Return the error for a server that closes the connection (RFC 9051 §7.1.5)."""
    text = status.text if status else ""
    return wire.failure(ErrorType.CONNECTION_LOST, f"the server says goodbye: {text}")
