"""FETCH responses that are wrong, and those that are only unusual."""

from __future__ import annotations

import asyncio
import time

import pytest

from models.errors import ConnectorError, ErrorType
from tests.imap_server import Command, ImapServer, Session, mail
from tests.mail.imap_hostile_kit import (
    TIMEOUT,
    connected,
    dripping,
    fails_soon,
    fetch_all,
    forever,
    server,
    then_silent,
)

__all__ = ["server"]

USUAL = b'UID 1 RFC822.SIZE 3 INTERNALDATE "99-Foo-1996 02:44:25 -0700" BODY[] {3}\r\nabc'


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
        (USUAL + b" BODY[] {1}\r\nx)\r\n", ErrorType.PROTOCOL_VIOLATION),
        (USUAL + b"x\r\n", ErrorType.PROTOCOL_VIOLATION),
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
    b"* 1 FETCH (" + USUAL + b")\r\n",
    b"* 1 FETCH (" + USUAL + b" FLAGS (\\Seen) X-NEW {2}\r\n)))\r\n",
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
