"""The Sent folder: found by its mark, searched by Message-ID, added to."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from models.errors import ErrorType
from tests.imap_server import ImapServer
from tests.mail.imap_hostile_kit import connected, fails_soon, server
from tests.mail.imap_kit import User, minimal, raw, sent, stack, user
from tools.servers.dovecot import Dovecot

__all__ = ["minimal", "sent", "server", "stack", "user"]

WHEN = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)


def test_the_sent_folder_is_the_marked_one(user: User) -> None:
    user.server.create_folder(user.name, "Gesendete Objekte")
    assert user.mailbox().sent_folder() is None
    user.server.create_folder(user.name, "Sent")
    assert user.mailbox().sent_folder() == "Sent"


def test_a_sent_folder_is_not_guessed_by_its_name(server: ImapServer) -> None:
    server.on(
        "LIST", b'* LIST () "/" Sent\r\n* LIST (\\Noselect \\Sent) "/" Old\r\nTAG OK done\r\n'
    )
    with connected(server) as mailbox:
        assert mailbox.sent_folder() is None
        server.on(
            "LIST", b'* LIST () "/" Sent\r\n* LIST (\\Sent) "/" Envoy&AOk-s\r\nTAG OK done\r\n'
        )
        assert mailbox.sent_folder() == "Envoyés"


def test_a_hit_is_the_very_message_id(user: User) -> None:
    def mail(header: str) -> bytes:
        return f"From: a@mail.test\r\n{header}Subject: x\r\n\r\nMessage-ID: <id@x>\r\n".encode()

    for header in (
        "Message-ID: <id@x>\r\n",
        "Message-ID: <ID@x>\r\n",
        "Message-ID: <other@x> <id@x>\r\n",
        "MESSAGE-ID:\r\n <id@x>\r\n",
        "In-Reply-To: <id@x>\r\n",
        "",
        "Message-ID: <other@x>\r\nMessage-Id:  <id@x> \r\n",
    ):
        user.server.deliver(user.name, mail(header))
    mailbox = user.mailbox()
    assert mailbox.find_by_message_id("INBOX", "<id@x>") == [1, 4, 7]
    assert mailbox.find_by_message_id("INBOX", "<d@x>") == []
    # The connection is good for more.
    assert mailbox.uids([(1, 9)]) == list(range(1, 8))


def test_what_is_added_is_found(user: User) -> None:
    user.server.create_folder(user.name, "Sent")
    mailbox = user.mailbox()
    assert mailbox.append("Sent", raw("one"), WHEN) == 1
    assert mailbox.append("Sent", raw("two"), WHEN, seen=False) == 2
    assert mailbox.find_by_message_id("Sent", "<two@mail.test>") == [2]
    (found,) = mailbox.fetch([1])
    assert (found.raw, found.internal_date) == (raw("one"), WHEN)
    search = ("search", "-u", user.name, "mailbox", "Sent", "seen")
    assert len(user.server.doveadm(*search).splitlines()) == 1


def test_a_server_without_extensions(minimal: Dovecot, stack: ExitStack) -> None:
    user = User(minimal, stack)
    user.server.create_folder(user.name, "Sent")
    mailbox = user.mailbox()
    mailbox.append("Sent", raw("one"))
    assert mailbox.find_by_message_id("Sent", "<one@mail.test>") == [1]


HIT = b"* SEARCH 7\r\nTAG OK done\r\n"


def test_a_server_that_finds_too_much(server: ImapServer) -> None:
    hits = b" ".join(b"%d" % n for n in range(1, 1002))
    server.on("UID SEARCH", b"* SEARCH " + hits + b"\r\nTAG OK done\r\n")
    with connected(server) as mailbox, fails_soon(ErrorType.PROTOCOL_VIOLATION):
        mailbox.find_by_message_id("INBOX", "<a@b>")


@pytest.mark.parametrize(
    ("answer", "type_"),
    [
        (b"TAG NO [INUSE] later\r\n", ErrorType.SERVER_UNAVAILABLE),
        (b"TAG BAD no\r\n", ErrorType.SERVER_UNAVAILABLE),
        (b"TAG HELLO\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b"what\r\n", ErrorType.PROTOCOL_VIOLATION),
        (b"* BYE\r\n", ErrorType.CONNECTION_LOST),
        (b"* 1 FETCH (UID 7 BODY[HEADER.FIELDS (MESSAGE-ID)] {999999}\r\n", None),
        (b"* 1 FETCH (UID 7 BODY[] {3}\r\nabc)\r\nTAG OK done\r\n", None),
        (b"", ErrorType.CONNECTION_TIMED_OUT),
    ],
)
def test_what_may_go_wrong_with_a_hit(
    server: ImapServer, answer: bytes, type_: ErrorType | None
) -> None:
    server.on("UID SEARCH", HIT)
    server.on("UID FETCH", answer)
    with connected(server) as mailbox, fails_soon(*([type_] if type_ else [])):
        mailbox.find_by_message_id("INBOX", "<a@b>")


def test_a_search_that_lags_behind(server: ImapServer) -> None:
    """The newest mails are looked at as well: an index may not know of them yet."""
    server.on("UID SEARCH", b"* SEARCH\r\nTAG OK done\r\n")
    header = b"Message-ID: <a@b>\r\n\r\n"
    server.on(
        "UID FETCH",
        b"* 3 FETCH (UID 3 BODY[HEADER.FIELDS (MESSAGE-ID)] {%d}\r\n%s)\r\nTAG OK done\r\n"
        % (len(header), header),
    )
    with connected(server) as mailbox:
        assert mailbox.find_by_message_id("INBOX", "<a@b>") == [3]
        assert mailbox.find_by_message_id("INBOX", "<b@b>") == []
    asked = [c.text.split()[0] for c in server.commands if c.name == "UID FETCH"]
    assert asked == [b"1:3", b"1:3"]


def test_an_empty_folder_is_not_searched(user: User, sent: list[bytes]) -> None:
    assert user.mailbox().find_by_message_id("INBOX", "<a@b>") == []
    assert not any(b"SEARCH" in line for line in sent)


def test_hits_that_are_gone_and_news_of_others(server: ImapServer) -> None:
    server.on("UID SEARCH", HIT)
    with connected(server) as mailbox:
        for answer, found in (
            (b"TAG OK done\r\n", []),
            (b"TAG NO [EXPUNGEISSUED] gone\r\n", []),
            (b"* 1 FETCH (UID 7 BODY[HEADER.FIELDS (MESSAGE-ID)] NIL)\r\nTAG OK done\r\n", []),
            (
                b"* 9 EXISTS\r\n* 2 FETCH (FLAGS (\\Seen) UID 8)\r\n"
                b'* 1 FETCH (BODY[HEADER.FIELDS ("Message-ID")] {21}\r\n'
                b"Message-ID: <a@b>\r\n\r\n UID 7)\r\nTAG OK done\r\n",
                [7],
            ),
        ):
            server.on("UID FETCH", answer)
            assert mailbox.find_by_message_id("INBOX", "<a@b>") == found
