"""The IMAP adapter against a server that lies, floods, cuts, drips and injects.

Whatever it does ends in an error of the contract, soon and in little memory, and no value puts a
command of its own on the wire.
"""

from __future__ import annotations

import asyncio
import resource
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import SecretStr

from activities.mail.imap import ImapConnector, ImapMailbox
from activities.ports import Endpoint
from models.account import LoginMethod, Security
from models.errors import ConnectorError, ErrorType
from tests.imap_server import CAPABILITIES, Command, ImapServer, Session, mail
from tests.mail.imap_kit import error_of
from tools.servers.ca import TestCA

TIMEOUT = 0.5
PASSWORD = "hunter2-secret"


def endpoint(server: ImapServer, **changes: object) -> Endpoint:
    given = Endpoint(
        host="localhost",
        port=server.port,
        security=Security.NONE,
        login=LoginMethod.BASIC,
        username="user",
        password=SecretStr(PASSWORD),
        timeout=timedelta(seconds=TIMEOUT),
        check_identity=True,
    )
    return replace(given, **changes)  # type: ignore[arg-type]


@contextmanager
def fails_soon(*types: ErrorType, within: float = TIMEOUT + 2) -> Iterator[None]:
    """Expect a ``ConnectorError`` in time, without the password, in less than 128 MB more."""
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConnectorError) as caught:
        yield
    assert time.monotonic() - started < within
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 128 * 1024
    assert not types or caught.value.type in types
    assert PASSWORD not in str(caught.value)


@pytest.fixture
def server() -> Iterator[ImapServer]:
    with ImapServer() as server:
        yield server


@contextmanager
def connected(server: ImapServer, folder: str | None = "INBOX", **options: int):
    with ImapConnector(**options).connect(endpoint(server)) as mailbox:
        assert isinstance(mailbox, ImapMailbox)
        if folder is not None:
            mailbox.open(folder, read_only=False)
        yield mailbox


def connect(server: ImapServer, **changes: object) -> None:
    with ImapConnector().connect(endpoint(server, **changes)):
        pass


def forever(data: bytes, *, pause: float = 0):
    """An answer that never ends."""

    async def answer(session: Session, command: Command) -> None:
        while True:
            await session.send(data)
            if pause:
                await asyncio.sleep(pause)

    return answer


def then_cut(data: bytes):
    """An answer after which the connection is closed."""

    async def answer(session: Session, command: Command) -> None:
        await session.send(data.replace(b"TAG", command.tag))
        session.writer.close()

    return answer


def then_silent(data: bytes):
    async def answer(session: Session, command: Command) -> None:
        await session.send(data.replace(b"TAG", command.tag))
        await asyncio.sleep(60)

    return answer


def dripping(data: bytes, pause: float = 0.05):
    """One octet at a time, each well within the timeout."""

    async def answer(session: Session, command: Command) -> None:
        for octet in data:
            await session.send(bytes([octet]))
            await asyncio.sleep(pause)

    return answer


def fetch_all(mailbox: ImapMailbox) -> list[bytes]:
    return [found.raw for found in mailbox.fetch([1, 2, 3])]


CALLS = {
    "LIST": lambda m: m.folders(),
    "SELECT": lambda m: m.open("INBOX", read_only=False),
    "EXAMINE": lambda m: m.open("INBOX", read_only=True),
    "UID SEARCH": lambda m: m.uids([(1, 9)]),
    "UID FETCH": fetch_all,
    "UID MOVE": lambda m: m.move([1, 2], "INBOX"),
    "UID STORE": lambda m: m.remove([1, 2]),
    "UID EXPUNGE": lambda m: m.remove([1, 2]),
    "APPEND": lambda m: m.append("INBOX", b"Subject: x\r\n\r\n"),
}


# --- Each command refused, cut, ended, flooded


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


# --- The greeting


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


# --- TLS


def no_password_was_seen(server: ImapServer) -> bool:
    received = b"".join(server.lines)
    return PASSWORD.encode() not in received and b"AUTHENTICATE" not in received


@pytest.mark.parametrize(
    ("greeting", "capabilities"),
    [
        (b"* OK ready\r\n", CAPABILITIES),
        (b"* PREAUTH welcome\r\n", CAPABILITIES),
        (b"* PREAUTH welcome\r\n", CAPABILITIES + " STARTTLS"),
        (b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n", CAPABILITIES),
    ],
)
def test_no_cleartext_when_starttls_is_wanted(greeting: bytes, capabilities: str) -> None:
    with ImapServer(greeting=greeting, capabilities=capabilities) as server:
        with fails_soon(ErrorType.TLS_UNAVAILABLE):
            connect(server, security=Security.STARTTLS)
        assert no_password_was_seen(server)


@pytest.mark.parametrize("answer", [b"TAG NO later\r\n", b"TAG BAD what\r\n"])
def test_starttls_refused(answer: bytes) -> None:
    with ImapServer(capabilities=CAPABILITIES + " STARTTLS") as server:
        server.on("STARTTLS", answer)
        with fails_soon(ErrorType.TLS_UNAVAILABLE):
            connect(server, security=Security.STARTTLS)
        assert no_password_was_seen(server)


@pytest.mark.parametrize(
    "answer", [then_silent(b"TAG OK go\r\n"), then_silent(b"TAG OK go\r\n* OK plain\r\n")]
)
def test_no_tls_after_starttls(answer) -> None:
    with ImapServer(capabilities=CAPABILITIES + " STARTTLS") as server:
        server.on("STARTTLS", answer)
        with fails_soon(
            ErrorType.CONNECTION_TIMED_OUT,
            ErrorType.PROTOCOL_VIOLATION,
            ErrorType.CONNECTION_LOST,
        ):
            connect(server, security=Security.STARTTLS)
        assert no_password_was_seen(server)


def test_what_came_before_tls_is_forgotten(test_ca: TestCA) -> None:
    certificate = test_ca.issue()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain, certificate.key)

    async def injected(session: Session, command: Command) -> None:
        await session.send(
            command.tag + b" OK go\r\n* CAPABILITY IMAP4rev1 X-INJECTED LOGINDISABLED\r\n"
            b"* BYE injected\r\n"
        )
        await session.start_tls()

    with ImapServer(capabilities=CAPABILITIES + " STARTTLS", context=context) as server:
        server.on("STARTTLS", injected)
        given = endpoint(server, security=Security.STARTTLS, ca_file=str(test_ca.ca_file))
        with ImapConnector().connect(given) as mailbox:
            assert "X-INJECTED" not in mailbox.capabilities
            assert "UIDPLUS" in mailbox.capabilities
            assert [folder.name for folder in mailbox.folders()] == ["INBOX"]


def test_cleartext_on_the_tls_port(server: ImapServer) -> None:
    with fails_soon(
        ErrorType.PROTOCOL_VIOLATION, ErrorType.TLS_UNAVAILABLE, ErrorType.CONNECTION_LOST
    ):
        connect(server, security=Security.TLS)
    assert server.lines == [] or no_password_was_seen(server)


def test_logindisabled() -> None:
    with ImapServer(capabilities="IMAP4rev1 LOGINDISABLED AUTH=PLAIN SASL-IR") as server:
        with fails_soon(ErrorType.TLS_UNAVAILABLE):
            connect(server)
        assert no_password_was_seen(server)


def test_preauth_is_a_login_where_no_starttls_is_wanted() -> None:
    with ImapServer(greeting=b"* PREAUTH welcome\r\n") as server:
        connect(server)
        assert no_password_was_seen(server)


# --- FETCH


@pytest.mark.parametrize(
    ("response", "type_"),
    [
        (b"BODY[] {999999999999}\r\n", ErrorType.MESSAGE_TOO_LARGE),
        (b"BODY[] {9999999999999999999999999999}\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b"BODY[] {-5}\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b"BODY[] {x}\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b"BODY[] {}\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b"BODY[] {3}\r\nabcdef)\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b'BODY[] {3}\r\nabc"\r\n', ErrorType.PROTOCOL_VIOLATION),
        (b"BODY[] {50}\r\nabc)\r\nTAG OK done\r\n", ErrorType.CONNECTION_TIMED_OUT),
        (b"FLAGS {999999999}\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b"FLAGS {200000}\r\n" + b"x" * 200_000 + b" X {200000}\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b"BODY[]", ErrorType.CONNECTION_TIMED_OUT),
        (b"BODY[])\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b'BODY[] "unclosed)\r\n', ErrorType.PROTOCOL_VIOLATION),
        (b"BODY[ {3}\r\nabc)\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b"FLAGS ((((\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b"X " + b"(" * 60_000 + b"\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b"X" * 70_000 + b"\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b"BODY[] {1}\r\nx BODY[] {1}\r\nx)\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b"UID 9 BODY[] {1}\r\nx)\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b"UID 1 BODY[] {1}\r\nx) more\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b"RFC822.SIZE 500 BODY[] {0}\r\n)\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b"UID 1 RFC822.SIZE 500 BODY[] NIL)\r\n", ErrorType.SERVER_UNAVAILABLE),
        (b'UID 1 RFC822.SIZE 500 BODY[] "")\r\n', ErrorType.SERVER_UNAVAILABLE),
    ],
)
def test_bad_fetch_responses(server: ImapServer, response: bytes, type_: ErrorType) -> None:
    server.on("UID FETCH", b"* 1 FETCH (" + response)
    with connected(server) as mailbox, fails_soon(type_):
        fetch_all(mailbox)


def test_mails_without_end(server: ImapServer) -> None:
    server.on("UID FETCH", forever(mail(1, b"x" * 100_000)))
    with connected(server) as mailbox, fails_soon(ErrorType.PROTOCOL_VIOLATION):
        fetch_all(mailbox)


def test_a_mail_that_drips(server: ImapServer) -> None:
    server.on("UID FETCH", dripping(mail(1, b"x" * 1000)))
    with connected(server) as mailbox, fails_soon(ErrorType.CONNECTION_TIMED_OUT):
        fetch_all(mailbox)


def test_a_slow_mail_gets_through(server: ImapServer) -> None:
    """Three times the timeout in all, but never a whole one without progress."""

    async def slow(session: Session, command: Command) -> None:
        whole = mail(1, b"x" * 300_000)
        for start in range(0, len(whole), 20_000):
            await session.send(whole[start : start + 20_000])
            await asyncio.sleep(TIMEOUT / 5)
        await session.send(command.tag + b" OK done\r\n")

    server.on("UID FETCH", slow)
    with connected(server) as mailbox:
        assert [len(raw) for raw in fetch_all(mailbox)] == [300_000]


def test_a_slow_caller_costs_no_time(server: ImapServer) -> None:
    with connected(server) as mailbox:
        found = []
        for message in mailbox.fetch([1, 2, 3]):
            time.sleep(TIMEOUT * 0.7)
            found.append(message.uid)
        assert found == [1, 2, 3]


def test_an_announced_literal_takes_no_memory(server: ImapServer) -> None:
    server.on("UID FETCH", then_silent(b"* 1 FETCH (UID 1 BODY[] {250000000}\r\nabc"))
    with connected(server) as mailbox, fails_soon(ErrorType.CONNECTION_TIMED_OUT):
        fetch_all(mailbox)


TOLERATED = [
    b"* 1 FETCH (BODY[] {3}\r\nabc UID 1)\r\n",
    b"* 1 fetch (uid 1 body[] {3}\r\nabc)\r\n",
    b'* 1 FETCH (UID 1 BODY[] "abc")\r\n',
    b"* 1 FETCH (UID 1 BODY[] ~{3}\r\nabc)\r\n",
    b"* 1 FETCH (UID 1 FLAGS (\\Seen $X) BODY[] {3}\r\nabc MODSEQ (12))\r\n",
    b'* 1 FETCH (X-GM-LABELS ("a )" {4}\r\n)\r\n( b) UID 1 BODY[] {3}\r\nabc)\r\n',
    b"* 1 FETCH (BODY[HEADER.FIELDS (FROM TO)] {2}\r\n\r\n UID 1 BODY[] {3}\r\nabc)\r\n",
    b"* 1 FETCH (FLAGS (\\Seen))\r\n* 1 EXISTS\r\n* 2 EXPUNGE\r\n"
    b"* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n",
    b"* OK [ALERT] text {5}\r\n* NO busy\r\n* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n",
    b"* VANISHED 7\r\n* X-NEW {3}\r\n)))\r\n* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n",
    b'* 1 FETCH (UID 1 INTERNALDATE "never \\" at all" BODY[] {3}\r\nabc)\r\n',
    b"* 1 FETCH (UID 1 INTERNALDATE NIL BODY[] {3}\r\nabc)\n",
]


@pytest.mark.parametrize("response", TOLERATED)
@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_tolerated_fetch_responses(server: ImapServer, response: bytes, piece: int) -> None:
    async def answer(session: Session, command: Command) -> None:
        whole = response + command.tag + b" ok done\r\n"
        for start in range(0, len(whole), piece):
            await session.send(whole[start : start + piece])
            await asyncio.sleep(0)

    server.on("UID FETCH", answer)
    with connected(server) as mailbox:
        (found,) = mailbox.fetch([1])
        assert (found.uid, found.raw, found.internal_date) == (1, b"abc", None)


@pytest.mark.parametrize(
    "answer",
    [
        b"TAG OK nothing\r\n",
        b"* 1 FETCH (UID 1 RFC822.SIZE 0 BODY[] NIL)\r\nTAG OK done\r\n",
        b"* 1 FETCH (UID 1 BODY[] nil)\r\nTAG NO [EXPUNGEISSUED] gone\r\n",
        b"TAG NO [EXPUNGEISSUED] gone\r\n",
    ],
)
def test_gone_mails(server: ImapServer, answer: bytes) -> None:
    server.on("UID FETCH", answer)
    with connected(server) as mailbox:
        assert list(mailbox.fetch([1, 2])) == []


def test_a_refused_fetch_names_the_mail(server: ImapServer) -> None:
    server.on("UID FETCH", mail(1, b"x") + b"TAG NO cannot read it\r\n")
    with connected(server) as mailbox:
        mails = mailbox.fetch([1, 2, 3])
        assert next(mails).uid == 1
        with pytest.raises(ConnectorError) as caught:
            next(mails)
        assert caught.value.type is ErrorType.SERVER_UNAVAILABLE
        assert caught.value.detail["uid"] == 2


# --- SEARCH


@pytest.mark.parametrize(
    "answer",
    [
        b'* ESEARCH (TAG "x") UID ALL 5:9,2,100:200\r\nTAG OK done\r\n',
        b"* ESEARCH UID ALL 2,9:5\r\nTAG OK done\r\n",
    ],
)
def test_esearch(server: ImapServer, answer: bytes) -> None:
    server.on("UID SEARCH", answer)
    with connected(server) as mailbox:
        assert mailbox.uids([(1, 9)]) == [2, 5, 6, 7, 8, 9]


def test_search_without_esearch() -> None:
    with ImapServer(capabilities="IMAP4rev1") as server:
        server.on("UID SEARCH", b"* SEARCH 7 2 2\r\n* SEARCH 3 (MODSEQ 9)\r\nTAG OK done\r\n")
        with connected(server) as mailbox:
            assert mailbox.uids([(1, 5)]) == [2, 3]
            server.on("UID SEARCH", b"* SEARCH\r\nTAG OK done\r\n")
            assert mailbox.uids([(1, 5)]) == []
            server.on("UID SEARCH", b"TAG OK done\r\n")
            assert mailbox.uids([(1, 5)]) == []


def test_four_billion_uids(server: ImapServer) -> None:
    server.on("UID SEARCH", b"* ESEARCH UID ALL 1:4294967295\r\nTAG OK done\r\n")
    with connected(server) as mailbox, fails_soon(ErrorType.PROTOCOL_VIOLATION):
        mailbox.uids([(1, 2**32 - 1)])


def test_a_million_uids_are_welcome_and_more_are_not() -> None:
    with ImapServer(capabilities="IMAP4rev1") as server:
        many = b" ".join(b"%d" % n for n in range(1, 1_000_001))
        server.on("UID SEARCH", b"* SEARCH " + many + b"\r\nTAG OK done\r\n")
        with connected(server) as mailbox:
            assert len(mailbox.uids([(1, 2**32 - 1)])) == 1_000_000
            server.on("UID SEARCH", forever(b"* SEARCH" + b" 1" * 100_000 + b"\r\n"))
            with fails_soon(
                ErrorType.PROTOCOL_VIOLATION, ErrorType.CONNECTION_TIMED_OUT, within=TIMEOUT + 4
            ):
                mailbox.uids([(1, 2**32 - 1)])


# --- COPY instead of MOVE


@pytest.mark.parametrize(
    ("answer", "removed"),
    [
        (b"TAG OK [COPYUID 1 1:3 7:9] done\r\n", b"1:3"),
        (b"TAG OK [COPYUID 1 1,3 7:8] done\r\n", b"1,3"),
        (b"TAG OK [COPYUID 1 1:3 7:8] done\r\n", None),
        (b"TAG OK [COPYUID 1 1:4294967295 7:9] done\r\n", None),
        (b"TAG OK done\r\n", None),
        (b"TAG OK [COPYUID 1 x y] done\r\n", None),
        (b"TAG NO [OVERQUOTA] full\r\n", None),
        (b"TAG NO [TRYCREATE] where\r\n", None),
        (b"TAG BAD what\r\n", None),
    ],
)
def test_only_what_was_copied_is_removed(answer: bytes, removed: bytes | None) -> None:
    with ImapServer(capabilities="IMAP4rev1 UIDPLUS ESEARCH") as server:
        server.on("UID COPY", answer)
        with connected(server) as mailbox:
            if removed == b"1:3":
                server.on("UID SEARCH", b"TAG OK done\r\n")
                mailbox.move([1, 2, 3], "INBOX")
            else:
                with fails_soon():
                    mailbox.move([1, 2, 3], "INBOX")
        changes = [c.text for c in server.commands if c.name in ("UID STORE", "UID EXPUNGE")]
        expected = [removed + b" +FLAGS.SILENT (\\Deleted)", removed] if removed else []
        assert changes == expected


def test_moved_uids_that_are_gone_are_no_error() -> None:
    with ImapServer(capabilities="IMAP4rev1 UIDPLUS ESEARCH") as server:
        server.on("UID COPY", b"TAG OK nothing to copy\r\n")
        server.on("UID SEARCH", b"* ESEARCH UID\r\nTAG OK done\r\n")
        with connected(server) as mailbox:
            mailbox.move([1, 2], "INBOX")
        assert not [c for c in server.commands if c.name in ("UID STORE", "UID EXPUNGE")]


# --- Injection

INJECTED = "A99 DELETE x"
STRINGS = [
    f"x\r\n{INJECTED}\r\n",
    f"x\n{INJECTED}\n",
    f"x\r{INJECTED}\r",
    f'x"\r\n{INJECTED}\r\n"',
    f"x\0\r\n{INJECTED}",
    f"\r\n{INJECTED}\r\n",
    f"x {{5+}}\r\n{INJECTED}\r\n",
    f"x {{200}}\r\n{INJECTED}\r\n",
    "x\0y",
    "x\x0b\x1f\x7f",
    'x" y',
    "x\\",
    "x {5+}",
    "{5}",
    f"x\x85{INJECTED}\u2028{INJECTED}",
    "x\ud800",
    "*%()[]",
    "",
]
BREAKERS = "\r\n\0"


def assert_nothing_injected(server: ImapServer) -> None:
    assert not any(line.lstrip().startswith(b"A99") for line in server.lines)
    assert not any(command.tag == b"A99" or command.name == "DELETE" for command in server.commands)


ARGUMENTS = {
    "open": lambda m, s: m.open(s, read_only=False),
    "examine": lambda m, s: m.open(s, read_only=True),
    "exists": lambda m, s: m.exists(s),
    "move": lambda m, s: m.move([1], s),
    "append folder": lambda m, s: m.append(s, b"Subject: x\r\n\r\n"),
    "append flag": lambda m, s: m.append("INBOX", b"Subject: x\r\n\r\n", (s,)),
    "search folder": lambda m, s: m.search_message_id(s, "<a@b>"),
    "search id": lambda m, s: m.search_message_id("INBOX", s),
    "search id in brackets": lambda m, s: m.search_message_id("INBOX", f"<{s}>"),
}


@pytest.mark.parametrize("copy", [False, True])
def test_no_argument_injects_a_command(copy: bool) -> None:
    capabilities = "IMAP4rev1 UIDPLUS" if copy else CAPABILITIES
    with ImapServer(capabilities=capabilities) as server:
        server.on("UID COPY", b"TAG OK [COPYUID 1 1 1] done\r\n")
        server.on("UID SEARCH", b"* SEARCH\r\nTAG OK done\r\n")
        for call in ARGUMENTS.values():
            for text in STRINGS:
                with connected(server) as mailbox:
                    error = error_of(call, mailbox, text)
                    if error is None:
                        assert not any(c in text.strip() for c in BREAKERS)
                    else:
                        assert error.type is ErrorType.INVALID_INPUT
                    # The connection is still good: nothing was half sent.
                    assert mailbox.open("INBOX", read_only=True).exists == 3
        assert_nothing_injected(server)


@pytest.mark.parametrize("capabilities", [CAPABILITIES, "IMAP4rev1"], ids=["PLAIN", "LOGIN"])
@pytest.mark.parametrize("what", ["username", "password"])
def test_no_credential_injects_a_command(capabilities: str, what: str) -> None:
    with ImapServer(capabilities=capabilities) as server:
        for text in STRINGS:
            changed = {what: SecretStr(text) if what == "password" else text}
            seen = len(server.lines)
            error = error_of(connect, server, **changed)
            if error is not None:
                assert error.type is ErrorType.INVALID_INPUT
                # Refused before anything was sent.
                assert len(server.lines) == seen
        assert_nothing_injected(server)


@pytest.mark.parametrize(
    "name",
    [
        b'"x&AA0ACg-A99 DELETE x&AA0ACg-"',
        b"{17}\r\nx\r\nA99 DELETE x\r\n",
        b'"x&AAA-y"',
        b'"x\\" {5+}"',
        b'"&broken"',
        b'"&AGE-"',
        b'"caf\xc3\xa9"',
        b'"x\\\\"',
        b"2024",
        b"NIL",
    ],
)
def test_no_name_from_the_server_injects_a_command(server: ImapServer, name: bytes) -> None:
    server.on("LIST", b'* LIST () "/" ' + name + b'\r\n* LIST () "/" INBOX\r\nTAG OK done\r\n')
    with connected(server) as mailbox:
        folders = mailbox.folders()
        assert folders[-1].name == "INBOX"
        for folder in folders:
            assert folder.name.isprintable()
            for call in ARGUMENTS.values():
                with connected(server) as other:
                    error = error_of(call, other, folder.name)
                    assert error is None or error.type in (
                        ErrorType.INVALID_INPUT,
                        ErrorType.FOLDER_NOT_FOUND,
                    )
    assert_nothing_injected(server)


@pytest.mark.parametrize("uids", [[0], [-1], [2**32]])
def test_uids_are_numbers_of_32_bits(server: ImapServer, uids: list[int]) -> None:
    with connected(server) as mailbox:
        for call in (mailbox.remove, mailbox.fetch, lambda u: mailbox.move(u, "Done")):
            with fails_soon(ErrorType.INVALID_INPUT):
                call(uids)
        assert mailbox.uids([(-5, 0), (2**32, 2**40)]) == []
