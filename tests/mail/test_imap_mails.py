"""Reading and changing folders of a real Dovecot."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from activities.mail.imap import ImapConnector
from models.errors import ErrorType
from tests.mail.imap_kit import (
    User,
    failure_of,
    minimal,
    raw,
    sent,
    stack,
    subject_of,
    user,
    without_move,
)
from tools.servers.dovecot import Dovecot

__all__ = ["minimal", "sent", "stack", "user", "without_move"]


# --- Reading


def test_uids_within_ranges(user: User) -> None:
    user.deliver(*"abcdefgh")
    mailbox = user.mailbox("INBOX")
    mailbox.remove([4])
    assert mailbox.uids([(1, 2**32 - 1)]) == [1, 2, 3, 5, 6, 7, 8]
    assert mailbox.uids([(6, 7), (2, 4)]) == [2, 3, 6, 7]
    assert mailbox.uids([(9, 2**32 - 1)]) == []
    assert mailbox.uids([]) == []


@pytest.mark.parametrize("esearch", [True, False])
def test_many_ranges_make_short_lines(
    dovecot: Dovecot, minimal: Dovecot, stack: ExitStack, sent: list[bytes], esearch: bool
) -> None:
    user = User(dovecot if esearch else minimal, stack)
    user.deliver(*map(str, range(40)))
    mailbox = user.mailbox("INBOX")
    assert mailbox.uids([(n, n) for n in range(1, 9000, 2)]) == list(range(1, 41, 2))
    searches = [line for line in sent if b"UID SEARCH" in line]
    assert len(searches) > 1
    assert max(map(len, searches)) < 8192
    assert (b"RETURN (ALL)" in searches[0]) is esearch


def test_fetch_follows_the_order_asked_for(user: User) -> None:
    user.deliver(*map(str, range(1, 251)))
    mailbox = user.mailbox("INBOX", read_only=True)
    for uids in ([3, 1, 2], list(range(250, 0, -1)), list(range(1, 251)), [7, 7, 200, 8]):
        mails = list(mailbox.fetch(uids))
        assert [mail.uid for mail in mails] == list(dict.fromkeys(uids))
        assert [subject_of(mail.raw) for mail in mails] == [str(m.uid) for m in mails]


def test_fetch_gives_the_very_bytes_and_the_date(user: User) -> None:
    contents = [
        raw("small"),
        raw("large", 3_000_000),
        b"\r\n",
        b"Subject: {5}\r\n\r\n)\r\n* BYE\r\n",
    ]
    for content in contents:
        user.server.deliver(user.name, content)
    mailbox = user.mailbox("INBOX", read_only=True)
    mails = list(mailbox.fetch([1, 2, 3, 4]))
    assert [mail.raw for mail in mails] == contents
    for mail in mails:
        assert mail.internal_date is not None
        assert abs(mail.internal_date - datetime.now(UTC)) < timedelta(minutes=5)


def test_gone_uids_are_skipped(user: User) -> None:
    user.deliver(*"abcd")
    mailbox = user.mailbox("INBOX", read_only=True)
    # Another session removes two, which ours has not been told.
    user.mailbox("INBOX").remove([2, 3])
    assert [mail.uid for mail in mailbox.fetch([1, 2, 3, 4, 99])] == [1, 4]
    assert list(mailbox.fetch([])) == []


def test_reading_leaves_no_trace(user: User, sent: list[bytes]) -> None:
    user.deliver("a", "b")
    mailbox = user.mailbox("INBOX", read_only=True)
    assert len(list(mailbox.fetch(mailbox.uids([(1, 9)])))) == 2
    assert len(list(user.mailbox("INBOX").fetch([1, 2]))) == 2
    unseen = user.server.doveadm("search", "-u", user.name, "mailbox", "INBOX", "unseen")
    assert len(unseen.splitlines()) == 2
    assert any(b"EXAMINE" in line for line in sent)
    assert not any(b"BODY[]" in line for line in sent)


def test_an_unfinished_fetch_drops_the_connection(user: User) -> None:
    user.deliver("a", "b")
    mailbox = user.mailbox("INBOX")
    mails = mailbox.fetch([1, 2])
    assert isinstance(mails, Generator)
    next(mails)
    assert failure_of(mailbox.remove, [1]).type is ErrorType.INTERNAL
    mails.close()
    assert failure_of(mailbox.remove, [1]).type is ErrorType.CONNECTION_LOST
    assert user.subjects() == ["a", "b"]


def test_a_mail_above_the_limit(user: User, stack: ExitStack) -> None:
    user.server.deliver(user.name, raw("large", 200_000))
    mailbox = stack.enter_context(ImapConnector(max_literal=100_000).connect(user.endpoint))
    mailbox.open("INBOX", read_only=True)
    error = failure_of(list, mailbox.fetch([1]))
    assert error.type is ErrorType.MESSAGE_TOO_LARGE
    assert error.detail["uid"] == 1


def test_search_by_message_id(user: User) -> None:
    user.deliver("one", "two", "twotwo")
    mailbox = user.mailbox()
    assert mailbox.find_by_message_id("INBOX", "<two@mail.test>") == [2]
    assert mailbox.find_by_message_id("INBOX", "two@mail.test") == [2]
    assert mailbox.find_by_message_id("INBOX", 'ö"\\@mail.test') == []
    assert failure_of(mailbox.find_by_message_id, "INBOX", "<>").type is ErrorType.INVALID_INPUT
    error = failure_of(mailbox.find_by_message_id, "nowhere", "<a@b>")
    assert error.type is ErrorType.FOLDER_NOT_FOUND


# --- Changing


@pytest.fixture(params=["MOVE", "COPY"])
def mover(request, dovecot: Dovecot, without_move: Dovecot, stack: ExitStack) -> User:
    """A user of a server with, and of one without MOVE."""
    return User(dovecot if request.param == "MOVE" else without_move, stack)


def test_move(mover: User, sent: list[bytes]) -> None:
    mover.server.create_folder(mover.name, "Döne")
    mover.deliver(*map(str, range(1, 251)))
    mailbox = mover.mailbox("INBOX")
    mailbox.move([*range(1, 240), 99_999], "Döne")
    assert mover.subjects() == [str(n) for n in range(240, 251)]
    assert mover.subjects("Döne") == [str(n) for n in range(1, 240)]
    by_move = "MOVE" in mailbox.capabilities
    assert any(b"UID MOVE" in line for line in sent) is by_move
    assert any(b"UID COPY" in line for line in sent) is not by_move


def test_move_can_be_repeated(mover: User) -> None:
    mover.server.create_folder(mover.name, "Done")
    mover.deliver("a", "b")
    mailbox = mover.mailbox("INBOX")
    mailbox.move([1], "Done")
    mailbox.move([1], "Done")
    mailbox.move([], "Done")
    assert mover.subjects("Done") == ["a"]
    assert mover.subjects() == ["b"]


def test_move_to_a_missing_folder_changes_nothing(mover: User, sent: list[bytes]) -> None:
    mover.deliver("a")
    mailbox = mover.mailbox("INBOX")
    error = failure_of(mailbox.move, [1], "nowhere")
    assert error.type is ErrorType.FOLDER_NOT_FOUND
    assert error.field == "move_folder"
    assert mover.subjects() == ["a"]
    assert not any(word in line for line in sent for word in (b"STORE", b"EXPUNGE"))


def test_remove_takes_exactly_these(user: User, sent: list[bytes]) -> None:
    user.deliver(*"abcde")
    user.server.doveadm(
        "flags", "add", "-u", user.name, "\\Deleted", "mailbox", "INBOX", "uid", "2"
    )
    mailbox = user.mailbox("INBOX")
    mailbox.remove([1, 3, 4, 99])
    mailbox.remove([1])
    # Somebody else's \Deleted is not ours to expunge.
    assert user.subjects() == ["b", "e"]
    assert not any(b" EXPUNGE" in line and b"UID EXPUNGE" not in line for line in sent)


@pytest.mark.parametrize("handling", ["remove", "move"])
def test_without_uidplus_nothing_changes(
    minimal: Dovecot, stack: ExitStack, sent: list[bytes], handling: str
) -> None:
    user = User(minimal, stack)
    user.server.create_folder(user.name, "Done")
    user.deliver("a")
    mailbox = user.mailbox("INBOX")
    call = (
        (lambda: mailbox.remove([1])) if handling == "remove" else lambda: mailbox.move([1], "Done")
    )
    error = failure_of(call)
    assert error.type is ErrorType.CAPABILITY_MISSING
    assert f"'{handling}'" in str(error)
    assert not any(word in line for line in sent for word in (b"STORE", b"COPY", b"EXPUNGE"))
    assert user.subjects() == ["a"]


def test_a_read_only_folder_is_not_changed(user: User) -> None:
    user.server.create_folder(user.name, "Done")
    user.deliver("a")
    mailbox = user.mailbox("INBOX", read_only=True)
    assert failure_of(mailbox.remove, [1]).type is ErrorType.INTERNAL
    assert failure_of(mailbox.move, [1], "Done").type is ErrorType.INTERNAL
    assert user.subjects() == ["a"]


def test_append(user: User) -> None:
    user.server.create_folder(user.name, "Gesendete Öbjekte")
    mailbox = user.mailbox()
    date = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
    content = raw("copy", 100_000)
    uid = mailbox.append("Gesendete Öbjekte", content, date)
    assert uid == 1
    assert mailbox.find_by_message_id("Gesendete Öbjekte", "<copy@mail.test>") == [1]
    (mail,) = mailbox.fetch([1])
    assert (mail.raw, mail.internal_date) == (content, date)
    seen = user.server.doveadm("search", "-u", user.name, "mailbox", "Gesendete Öbjekte", "seen")
    assert seen.strip()


def test_append_to_a_missing_folder_and_of_what_cannot_be(user: User) -> None:
    mailbox = user.mailbox()
    error = failure_of(mailbox.append, "nowhere", raw("a"))
    assert error.type is ErrorType.FOLDER_NOT_FOUND
    assert failure_of(mailbox.append, "INBOX", b"a\0b").type is ErrorType.INVALID_INPUT
