"""SEARCH answers, compact, classic and absurd, and COPY with and without its proof."""

from __future__ import annotations

import pytest

from models.errors import ErrorType
from tests.imap_server import ImapServer
from tests.mail.imap_hostile_kit import (
    TIMEOUT,
    connected,
    fails_soon,
    forever,
    server,
)

__all__ = ["server"]


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
