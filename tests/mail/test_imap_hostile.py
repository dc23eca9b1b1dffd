"""The IMAP adapter against a server that refuses, lies, floods, cuts and drips.

Whatever it does ends in an error of the contract, soon and in little memory.
"""

from __future__ import annotations

import time

import pytest

from models.errors import ErrorType
from tests.imap_server import CAPABILITIES, ImapServer
from tests.mail.imap_hostile_kit import (
    CALLS,
    PASSWORD,
    TIMEOUT,
    connect,
    connected,
    dripping,
    fails_soon,
    fetch_all,
    forever,
    server,
    then_cut,
    then_silent,
)
from tests.mail.imap_kit import error_of

__all__ = ["server"]


def test_the_server_is_fine_by_itself(server: ImapServer) -> None:
    with connected(server) as mailbox:
        assert len(fetch_all(mailbox)) == 3
        for call in CALLS.values():
            mailbox.open("INBOX", read_only=False)
            call(mailbox)
    assert server.commands[-1].name in ("APPEND", "LOGOUT")


@pytest.mark.parametrize("command", CALLS)
@pytest.mark.parametrize("word", [b"NO", b"BAD"])
def test_refusals(server: ImapServer, command: str, word: bytes) -> None:
    with connected(server) as mailbox:
        server.on(command, b"TAG %s [CANNOT] it is not to be\r\n" % word)
        with fails_soon(ErrorType.SERVER_REFUSED, ErrorType.SERVER_UNAVAILABLE):
            CALLS[command](mailbox)


@pytest.mark.parametrize(
    ("code", "type_"),
    [
        (b"NO [UNAVAILABLE]", ErrorType.SERVER_UNAVAILABLE),
        (b"NO [INUSE]", ErrorType.SERVER_UNAVAILABLE),
        (b"NO [LIMIT]", ErrorType.SERVER_UNAVAILABLE),
        (b"NO [SERVERBUG]", ErrorType.SERVER_UNAVAILABLE),
        (b"NO [OVERQUOTA]", ErrorType.SERVER_REFUSED),
        (b"NO [NOPERM]", ErrorType.SERVER_REFUSED),
        (b"NO [TRYCREATE]", ErrorType.FOLDER_NOT_FOUND),
        (b"NO [nonexistent]", ErrorType.FOLDER_NOT_FOUND),
        (b"NO [TOOBIG]", ErrorType.MESSAGE_TOO_LARGE),
        (b"NO the text says [TRYCREATE] only", ErrorType.FOLDER_NOT_FOUND),
        (b"BAD", ErrorType.FOLDER_NOT_FOUND),
    ],
)
def test_refusals_by_code(server: ImapServer, code: bytes, type_: ErrorType) -> None:
    server.on("APPEND", b"TAG " + code + b" text\r\n")
    with connected(server) as mailbox, fails_soon(type_):
        # Without a code, LIST tells: it does not name "Other".
        mailbox.append("Other", b"Subject: x\r\n\r\n")
    with connected(server) as mailbox, fails_soon():
        mailbox.append("INBOX", b"Subject: x\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "type_"),
    [
        (b"NO wrong", ErrorType.CREDENTIALS_REJECTED),
        (b"NO [AUTHENTICATIONFAILED] wrong", ErrorType.CREDENTIALS_REJECTED),
        (b"NO [EXPIRED] wrong", ErrorType.CREDENTIALS_REJECTED),
        (b"NO [UNAVAILABLE] later", ErrorType.SERVER_UNAVAILABLE),
        (b"NO [LIMIT] later", ErrorType.SERVER_UNAVAILABLE),
        (b"NO [INUSE] later", ErrorType.SERVER_UNAVAILABLE),
        (b"NO [PRIVACYREQUIRED] TLS", ErrorType.TLS_UNAVAILABLE),
        (b"BAD what", ErrorType.SERVER_REFUSED),
        (b"BAD cannot read AUTHENTICATE " + PASSWORD.encode(), ErrorType.SERVER_REFUSED),
    ],
)
@pytest.mark.parametrize("command", ["LOGIN", "AUTHENTICATE"])
def test_login_refusals(command: str, answer: bytes, type_: ErrorType) -> None:
    capabilities = CAPABILITIES if command == "AUTHENTICATE" else "IMAP4rev1"
    with ImapServer(capabilities=capabilities) as server:
        server.on(command, b"TAG " + answer + b"\r\n")
        with fails_soon(type_):
            connect(server)
        assert server.commands[-1].name == command


@pytest.mark.parametrize("command", CALLS)
@pytest.mark.parametrize("goodbye", [b"* BYE [UNAVAILABLE] going\r\n", b"* bye\r\n"])
def test_bye(server: ImapServer, command: str, goodbye: bytes) -> None:
    with connected(server) as mailbox:
        server.on(command, then_cut(goodbye))
        with fails_soon(ErrorType.CONNECTION_LOST, ErrorType.PROTOCOL_VIOLATION):
            CALLS[command](mailbox)
        with fails_soon(ErrorType.CONNECTION_LOST):
            mailbox.folders()


@pytest.mark.parametrize("command", CALLS)
@pytest.mark.parametrize("line", [b"", b"* OK half a li", b"* 1 FETCH (BODY[] {9}\r\nabc"])
def test_cut(server: ImapServer, command: str, line: bytes) -> None:
    with connected(server) as mailbox:
        server.on(command, then_cut(line))
        with fails_soon(ErrorType.CONNECTION_LOST):
            CALLS[command](mailbox)


@pytest.mark.parametrize("command", [*CALLS, "CAPABILITY", "AUTHENTICATE"])
def test_silence(server: ImapServer, command: str) -> None:
    server.on(command, then_silent(b"* OK wait\r\n"))
    with fails_soon(ErrorType.CONNECTION_TIMED_OUT), connected(server) as mailbox:
        CALLS[command](mailbox)


@pytest.mark.parametrize("command", [*CALLS, "CAPABILITY", "AUTHENTICATE"])
@pytest.mark.parametrize(
    "data",
    [
        b"* OK still here\r\n" * 1000,
        b"* 1 FETCH (FLAGS (\\Seen))\r\n" * 1000,
        b"* 3 EXPUNGE\r\n" * 1000,
        b"* CAPABILITY IMAP4rev1 X\r\n" * 1000,
        b'* LIST () "/" {3}\r\nabc\r\n' * 1000,
        b"x" * 65536,
        b"+ go on\r\n" * 1000,
    ],
    ids=["ok", "fetch", "expunge", "capability", "literals", "no line end", "continuation"],
)
def test_floods(server: ImapServer, command: str, data: bytes) -> None:
    server.on(command, forever(data))
    with (
        fails_soon(
            ErrorType.PROTOCOL_VIOLATION, ErrorType.CONNECTION_TIMED_OUT, within=TIMEOUT + 4
        ),
        connected(server) as mailbox,
    ):
        CALLS[command](mailbox)


@pytest.mark.parametrize("command", [*CALLS, "CAPABILITY", "AUTHENTICATE"])
@pytest.mark.parametrize(
    "answer",
    [dripping(b"* OK " + b"x" * 1000), forever(b"* OK still here\r\n", pause=0.1)],
    ids=["octets", "lines"],
)
def test_drips(server: ImapServer, command: str, answer) -> None:
    server.on(command, answer)
    with fails_soon(ErrorType.CONNECTION_TIMED_OUT), connected(server) as mailbox:
        CALLS[command](mailbox)


@pytest.mark.parametrize(
    "line",
    [
        b"* \r\n",
        b"*\r\n",
        b"garbage\r\n",
        b"\r\n",
        b"A0 OK never asked\r\n",
        b"TAG MAYBE done\r\n",
        b"TAG \r\n",
        b"* LIST " + b"(" * 20_000 + b"\r\nTAG OK done\r\n",
        b"* LIST () NIL\r\nTAG OK done\r\n",
        b"* OK [UIDVALIDITY x]\r\n* OK [UIDNEXT -1]\r\n* many EXISTS\r\nTAG OK done\r\n",
        b'* LIST () "/" {999999999999}\r\n',
        b'* ESEARCH (TAG "x") UID ALL 1:9999999999999\r\nTAG OK done\r\n',
        b"* \xff\xfe \x00\r\n",
    ],
)
@pytest.mark.parametrize("command", CALLS)
def test_nonsense(server: ImapServer, command: str, line: bytes) -> None:
    """It is an error or it is ignored; it is nothing else."""
    with connected(server) as mailbox:
        server.on(command, line)
        started = time.monotonic()
        error = error_of(CALLS[command], mailbox)
        assert error is None or error.type in (
            ErrorType.PROTOCOL_VIOLATION,
            ErrorType.CONNECTION_TIMED_OUT,
            ErrorType.MESSAGE_TOO_LARGE,
        )
        assert time.monotonic() - started < TIMEOUT + 2


@pytest.mark.parametrize(
    ("greeting", "type_"),
    [
        (b"* BYE too busy\r\n", ErrorType.CONNECTION_LOST),
        (b"", ErrorType.CONNECTION_TIMED_OUT),
        (b"220 mail.test ESMTP\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b"* OK no end", ErrorType.CONNECTION_TIMED_OUT),
        (b"x" * 1_000_000, ErrorType.PROTOCOL_VIOLATION),
        (b"\x15\x03\x01\x00\x02\x02\x0a", ErrorType.PROTOCOL_VIOLATION),
    ],
)
def test_greetings(greeting: bytes, type_: ErrorType) -> None:
    with ImapServer(greeting=greeting) as server, fails_soon(type_):
        connect(server)


def test_a_server_that_is_not_imap4rev1() -> None:
    with ImapServer(capabilities="IMAP2") as server, fails_soon(ErrorType.PROTOCOL_VIOLATION):
        connect(server)


def test_a_million_capabilities(server: ImapServer) -> None:
    server.on("CAPABILITY", b"* CAPABILITY IMAP4rev1" + b" X" * 1_000_000 + b"\r\nTAG OK\r\n")
    with fails_soon(ErrorType.PROTOCOL_VIOLATION):
        connect(server)


# --- Logging in and opening, unusual but legal


def test_capabilities_within_the_ok_to_a_login(server: ImapServer) -> None:
    server.on("AUTHENTICATE", b"TAG OK [CAPABILITY IMAP4rev1 X-LATER] welcome\r\n")
    with connected(server) as mailbox:
        assert mailbox.capabilities == {"IMAP4REV1", "X-LATER"}


@pytest.mark.parametrize("esearch", [True, False])
def test_a_folder_without_uidnext(esearch: bool) -> None:
    capabilities = "IMAP4rev1 ESEARCH" if esearch else "IMAP4rev1"
    found = b"* ESEARCH UID ALL 41" if esearch else b"* SEARCH 41"
    with ImapServer(capabilities=capabilities) as server:
        server.on("EXAMINE", b"* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK done\r\n")
        server.on("UID SEARCH", found + b"\r\nTAG OK done\r\n")
        with connected(server, None) as mailbox:
            assert mailbox.open("INBOX", read_only=True).uid_next == 42
            server.on("EXAMINE", b"* 0 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK done\r\n")
            assert mailbox.open("INBOX", read_only=True).uid_next == 1


def test_highest_modseq_is_kept(server: ImapServer) -> None:
    server.on(
        "EXAMINE",
        b"* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 4] x\r\n"
        b"* OK [HIGHESTMODSEQ 9007199254740993] x\r\nTAG OK done\r\n",
    )
    with connected(server, None) as mailbox:
        assert mailbox.open("INBOX", read_only=True).highest_modseq == 9007199254740993


@pytest.mark.parametrize("validity", [b"", b"* OK [UIDVALIDITY 0] x\r\n"])
def test_a_folder_without_uidvalidity_cannot_be_used(server: ImapServer, validity: bytes) -> None:
    server.on("EXAMINE", b"* 3 EXISTS\r\n* OK [UIDNEXT 4] x\r\n" + validity + b"TAG OK done\r\n")
    with connected(server, None) as mailbox, fails_soon(ErrorType.PROTOCOL_VIOLATION):
        mailbox.open("INBOX", read_only=True)


def test_a_folder_that_can_only_be_read(server: ImapServer) -> None:
    server.on(
        "SELECT",
        b"* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 4] x\r\n"
        b"TAG OK [READ-ONLY] done\r\n",
    )
    with connected(server, None) as mailbox, fails_soon(ErrorType.SERVER_REFUSED):
        mailbox.open("INBOX", read_only=False)
