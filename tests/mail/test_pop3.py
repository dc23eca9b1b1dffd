"""The POP3 adapter against Dovecot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from pydantic import SecretStr

from activities.mail.imap import ImapConnector
from activities.mail.pop3 import Pop3Connector
from activities.store.assembly import Store
from activities.store.uidls import UidlNumbering
from models.account import Security
from models.errors import ErrorType
from models.mailbox import Handling
from tests.mail.imap_kit import endpoint as imap_endpoint
from tests.mail.imap_kit import error_of, failure_of, new_user, raw, running_dovecot, subject_of
from tests.mail.pop3_kit import (
    EVERYTHING,
    connected,
    fetched,
    folder_of,
    opened,
    real,
    state,
    store,
)
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot

__all__ = ["store"]

# None begins with a dot: this Dovecot does not stuff the first line (RFC 1939 §3 wants it). No mail
# that was ever delivered begins with one; the scripted server does it right.
AWKWARD = [
    b"",
    b"\r\n",
    b"Subject: no end of line\r\n\r\nlast",
    b"Subject: dots\r\n\r\n.\r\n..\r\n...\r\n.x\r\n\r\n.\r\n",
    b"Subject: empty lines\r\n\r\n\r\n\r\n\r\n",
    b"Subject: octets\r\n\r\n" + bytes(n for n in range(256) if n not in (0, 10, 13)) + b"\r\n",
    b"Subject: lone cr\r\n\r\na\rb\r.\r\n",
    b"Subject: long line\r\n\r\n" + b"x" * 200_000 + b"\r\n",
    b"Subject: large\r\n\r\n" + b".dot\r\nline\r\n" * 100_000,
]


@pytest.fixture
def user() -> str:
    return new_user()


@pytest.mark.parametrize("security", Security)
def test_every_way_in(
    dovecot: Dovecot, store: Store, test_ca: TestCA, user: str, security: Security
) -> None:
    dovecot.deliver(user, raw("one"))
    given = replace(real(dovecot, user, security), ca_file=str(test_ca.ca_file))
    assert [subject_of(mail) for _, mail in fetched(store, given)] == ["one"]


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_a_certificate_of_a_stranger_is_refused(
    dovecot: Dovecot, store: Store, user: str, security: Security
) -> None:
    error = failure_of(state, store, real(dovecot, user, security))
    assert error.type is ErrorType.CERTIFICATE_REJECTED


def test_a_wrong_password(dovecot: Dovecot, store: Store, user: str) -> None:
    given = replace(real(dovecot, user), password=SecretStr("wrong-one"))
    error = failure_of(state, store, given)
    assert error.type is ErrorType.CREDENTIALS_REJECTED
    assert "wrong-one" not in str(error)


def test_mails_are_exactly_what_imap_gives(dovecot: Dovecot, store: Store, user: str) -> None:
    for content in AWKWARD:
        dovecot.deliver(user, content)
    with ImapConnector().connect(imap_endpoint(dovecot, user)) as mailbox:
        mailbox.open("INBOX", read_only=True)
        wanted = [mail.raw for mail in mailbox.fetch(mailbox.uids(EVERYTHING))]
    assert len(wanted) == len(AWKWARD)
    assert [mail for _, mail in fetched(store, real(dovecot, user))] == wanted


def test_numbers_stay_with_their_mails(dovecot: Dovecot, store: Store, user: str) -> None:
    given = real(dovecot, user)
    for subject in "abc":
        dovecot.deliver(user, raw(subject))
    first = state(store, given)
    assert (first.exists, first.uid_next) == (3, 4)
    folder_of(dovecot, user)[1].unlink()
    dovecot.deliver(user, raw("d"))
    assert [(n, subject_of(m)) for n, m in fetched(store, given)] == [(1, "a"), (3, "c"), (4, "d")]
    second = state(store, given)
    assert (second.exists, second.uid_next) == (3, 5)
    assert second.uid_validity == first.uid_validity > 2**32


def test_fetching_in_any_order_skips_what_is_gone(
    dovecot: Dovecot, store: Store, user: str
) -> None:
    for subject in "abc":
        dovecot.deliver(user, raw(subject))
    found = fetched(store, real(dovecot, user), [3, 9, 1, 3])
    assert [(n, subject_of(m)) for n, m in found] == [(3, "c"), (1, "a")]


def test_removal_is_done_when_it_returns(dovecot: Dovecot, store: Store, user: str) -> None:
    given = real(dovecot, user)
    for subject in "abcde":
        dovecot.deliver(user, raw(subject))
    with opened(store, given) as mailbox:
        mailbox.remove([2, 7])
        assert len(folder_of(dovecot, user)) == 4
        mailbox.remove([4, 2])
        assert len(folder_of(dovecot, user)) == 3
        mailbox.remove([4, 2])
    assert [subject_of(m) for _, m in fetched(store, given)] == ["a", "c", "e"]


def test_a_maildrop_open_for_reading_is_not_changed(
    dovecot: Dovecot, store: Store, user: str
) -> None:
    dovecot.deliver(user, raw("a"))
    with opened(store, real(dovecot, user), read_only=True) as mailbox:
        assert failure_of(mailbox.remove, [1]).type is ErrorType.INTERNAL
    assert len(folder_of(dovecot, user)) == 1


@pytest.fixture(scope="module")
def locking(test_ca: TestCA) -> Iterator[Dovecot]:
    with running_dovecot(test_ca, extra="protocol pop3 {\n  pop3_lock_session = yes\n}") as server:
        yield server


def test_a_session_leaves_no_lock_behind(locking: Dovecot, store: Store, user: str) -> None:
    given = real(locking, user)
    for subject in "ab":
        locking.deliver(user, raw(subject))
    assert state(store, given).exists == 2
    assert len(fetched(store, given)) == 2
    with opened(store, given) as mailbox:
        mailbox.remove([1])
        mailbox.remove([2])
    assert state(store, given).exists == 0


def test_one_folder(dovecot: Dovecot, store: Store, user: str) -> None:
    dovecot.create_folder(user, "Other")
    with connected(store, real(dovecot, user)) as mailbox:
        assert [folder.name for folder in mailbox.folders()] == ["INBOX"]
        assert mailbox.exists("INBOX")
        assert not mailbox.exists("Other")
        assert mailbox.sent_folder() is None
        error = failure_of(mailbox.open, "Other", read_only=True)
        assert (error.type, error.field) == (ErrorType.FOLDER_NOT_FOUND, "folder")


def test_what_pop3_cannot_do(dovecot: Dovecot, store: Store, user: str) -> None:
    dovecot.deliver(user, raw("a"))
    with opened(store, real(dovecot, user)) as mailbox:
        assert mailbox.handlings == {Handling.NONE, Handling.REMOVE}
        for call in (
            lambda: mailbox.move([1], "Other"),
            lambda: mailbox.append("INBOX", b"Subject: x\r\n\r\n"),
            lambda: mailbox.find_by_message_id("INBOX", "<a@mail.test>"),
        ):
            error = error_of(call)
            assert error is not None
            assert error.type is ErrorType.CAPABILITY_MISSING


def test_too_large_a_mail_is_named_before_any_is_read(
    dovecot: Dovecot, store: Store, user: str
) -> None:
    dovecot.deliver(user, raw("small"))
    dovecot.deliver(user, raw("large", 5000))
    error = failure_of(fetched, store, real(dovecot, user), max_mail=1000)
    assert (error.type, error.detail["uid"]) == (ErrorType.MESSAGE_TOO_LARGE, 2)
    found = fetched(store, real(dovecot, user), [1], max_mail=1000)
    assert [subject_of(mail) for _, mail in found] == ["small"]


def test_cut_connections_are_lost(dovecot: Dovecot, store: Store, user: str) -> None:
    connector = Pop3Connector(UidlNumbering(store.database))
    with ExitStack() as stack:
        mailbox = stack.enter_context(connector.connect(real(dovecot, user)))
        connector.cut()
        error = failure_of(mailbox.open, "INBOX", read_only=True)
        assert error.type is ErrorType.CONNECTION_LOST
