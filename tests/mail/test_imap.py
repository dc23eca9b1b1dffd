"""The IMAP adapter against a real Dovecot."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from activities.mail import imap_login
from activities.mail.imap import ImapConnector
from activities.mail.imap_wire import Wire
from models.account import LoginMethod, Security
from models.errors import ErrorType
from tests.mail.imap_kit import (
    User,
    connect_failure,
    endpoint,
    failure_of,
    new_user,
    raw,
    running_dovecot,
    subject_of,
)
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot

REV1 = "IMAP4rev1 SASL-IR LITERAL+ UIDPLUS ESEARCH LIST-EXTENDED SPECIAL-USE"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def user(dovecot: Dovecot, stack: ExitStack) -> User:
    return User(dovecot, stack)


@pytest.fixture(scope="session")
def without_move(test_ca: TestCA) -> Iterator[Dovecot]:
    with running_dovecot(test_ca, capabilities=REV1) as server:
        yield server


@pytest.fixture(scope="session")
def minimal(test_ca: TestCA) -> Iterator[Dovecot]:
    with running_dovecot(test_ca, capabilities="IMAP4rev1") as server:
        yield server


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every command line that leaves."""
    lines: list[bytes] = []
    original = Wire.send

    def send(self: Wire, data: bytes) -> None:
        lines.append(data)
        original(self, data)

    monkeypatch.setattr(Wire, "send", send)
    return lines


# --- Logging in


@pytest.mark.parametrize("security", list(Security))
def test_connects_with_each_security(dovecot: Dovecot, test_ca: TestCA, security: Security) -> None:
    given = replace(endpoint(dovecot, new_user(), security), ca_file=str(test_ca.ca_file))
    with ImapConnector().connect(given) as mailbox:
        assert {"UIDPLUS", "MOVE"} <= mailbox.capabilities
        assert mailbox.exists("INBOX")


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_unknown_authority_is_refused(dovecot: Dovecot, security: Security) -> None:
    error = connect_failure(endpoint(dovecot, new_user(), security))
    assert error.type is ErrorType.CERTIFICATE_REJECTED


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
@pytest.mark.parametrize("certificate", ["wrong_host", "expired"])
def test_wrong_certificates_are_refused(
    test_ca: TestCA, security: Security, certificate: str
) -> None:
    with running_dovecot(test_ca, certificate=getattr(test_ca, certificate)()) as server:
        given = replace(endpoint(server, new_user(), security), ca_file=str(test_ca.ca_file))
        error = connect_failure(given)
        assert error.type is ErrorType.CERTIFICATE_REJECTED
        # The check can be switched off, which is the owner's decision.
        with ImapConnector().connect(replace(given, check_identity=False)) as mailbox:
            assert mailbox.exists("INBOX")


def test_wrong_password(user: User) -> None:
    error = connect_failure(replace(user.endpoint, password=SecretStr("wrong-password")))
    assert error.type is ErrorType.CREDENTIALS_REJECTED
    assert error.detail["code"] == "AUTHENTICATIONFAILED"
    assert "wrong-password" not in str(error)


@pytest.mark.parametrize("password", ['quo"te', "back\\slash", "pässwörd-密码", "x{5+}", "~*()&"])
def test_passwords_of_all_kinds(
    test_ca: TestCA, monkeypatch: pytest.MonkeyPatch, sent: list[bytes], password: str
) -> None:
    with running_dovecot(test_ca, password=password) as server:
        given = endpoint(server, new_user())
        with ImapConnector().connect(given) as mailbox:
            assert mailbox.exists("INBOX")
        assert any(b"AUTHENTICATE PLAIN" in line for line in sent)
        without_plain = replace(given, username='us"er')
        monkeypatch.setattr(imap_login, "_PLAIN", "AUTH=NOT-OFFERED")
        with ImapConnector().connect(without_plain) as mailbox:
            assert mailbox.exists("INBOX")
        assert any(b"LOGIN {5}" in line for line in sent)
        wrong = connect_failure(replace(given, password=SecretStr(password + "x")))
        assert wrong.type is ErrorType.CREDENTIALS_REJECTED


def test_no_server_and_no_name(user: User) -> None:
    error = connect_failure(replace(user.endpoint, port=1))
    assert error.type is ErrorType.CONNECTION_FAILED
    error = connect_failure(replace(user.endpoint, host="no-such-host.invalid"))
    assert error.type is ErrorType.HOST_NOT_FOUND


def test_credentials_must_be_complete(user: User) -> None:
    assert (
        connect_failure(replace(user.endpoint, password=None)).type is ErrorType.ACCOUNT_INCOMPLETE
    )
    none = replace(user.endpoint, login=LoginMethod.NONE)
    assert connect_failure(none).type is ErrorType.ACCOUNT_INCOMPLETE


# --- Folders


def test_folders_with_names_flags_and_uses(user: User) -> None:
    user.server.create_folder(user.name, "Sent")
    user.server.create_folder(user.name, "parent/child")
    user.server.create_folder(user.name, "Übergröße & Co")
    user.server.create_folder(user.name, "日本語")
    found = {folder.name: folder for folder in user.mailbox().folders()}
    assert {"INBOX", "Sent", "parent/child", "Übergröße & Co", "日本語"} <= found.keys()
    assert found["Sent"].special_use == "\\Sent"
    assert found["INBOX"].special_use is None
    assert found["INBOX"].selectable
    assert not found["parent"].selectable


def test_uses_are_found_without_list_extended(minimal: Dovecot, stack: ExitStack) -> None:
    user = User(minimal, stack)
    user.server.create_folder(user.name, "Sent")
    assert {"INBOX", "Sent"} <= {folder.name for folder in user.mailbox().folders()}


NAMES = ["Übergröße & Co", "日本語", "with space", 'quo"te', "back\\slash", "a*b%c", "{5+}", "&-"]


@pytest.mark.parametrize("name", NAMES)
def test_folder_names_go_both_ways(user: User, name: str) -> None:
    user.server.create_folder(user.name, name)
    user.deliver("only", folder=name)
    mailbox = user.mailbox()
    assert name in {folder.name for folder in mailbox.folders()}
    assert mailbox.exists(name)
    assert mailbox.open(name, read_only=True).exists == 1


def test_exists_asks_for_the_very_name(user: User) -> None:
    user.server.create_folder(user.name, "parent/child")
    mailbox = user.mailbox()
    assert mailbox.exists("inbox")
    assert not mailbox.exists("par*")
    assert not mailbox.exists("parent")
    assert not mailbox.exists("nowhere")


def test_open_tells_the_state(user: User) -> None:
    user.deliver("a", "b")
    state = user.mailbox().open("INBOX", read_only=True)
    assert (state.exists, state.uid_next) == (2, 3)
    assert state.uid_validity > 0


def test_missing_folder(user: User) -> None:
    mailbox = user.mailbox()
    error = failure_of(mailbox.open, "nowhere", read_only=True)
    assert error.type is ErrorType.FOLDER_NOT_FOUND
    assert error.field == "folder"
    # The connection is still good.
    assert mailbox.open("INBOX", read_only=True).exists == 0


def test_nothing_works_before_open(user: User) -> None:
    mailbox = user.mailbox()
    for call in (
        lambda: mailbox.uids([(1, 2)]),
        lambda: mailbox.fetch([1]),
        lambda: mailbox.move([1], "INBOX"),
        lambda: mailbox.remove([1]),
    ):
        assert failure_of(call).type is ErrorType.INTERNAL


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
    assert mailbox.search_message_id("INBOX", "<two@mail.test>") == [2]
    assert mailbox.search_message_id("INBOX", "two@mail.test") == [2]
    assert mailbox.search_message_id("INBOX", 'ö"\\@mail.test') == []
    assert failure_of(mailbox.search_message_id, "INBOX", "<>").type is ErrorType.INVALID_INPUT
    error = failure_of(mailbox.search_message_id, "nowhere", "<a@b>")
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
    uid = mailbox.append("Gesendete Öbjekte", content, ("\\Seen",), date)
    assert uid == 1
    assert mailbox.search_message_id("Gesendete Öbjekte", "<copy@mail.test>") == [1]
    (mail,) = mailbox.fetch([1])
    assert (mail.raw, mail.internal_date) == (content, date)
    seen = user.server.doveadm("search", "-u", user.name, "mailbox", "Gesendete Öbjekte", "seen")
    assert seen.strip()


def test_append_to_a_missing_folder_and_of_what_cannot_be(user: User) -> None:
    mailbox = user.mailbox()
    error = failure_of(mailbox.append, "nowhere", raw("a"))
    assert error.type is ErrorType.FOLDER_NOT_FOUND
    assert failure_of(mailbox.append, "INBOX", b"a\0b").type is ErrorType.INVALID_INPUT
    assert failure_of(mailbox.append, "INBOX", b"a", ("\\Seen)",)).type is ErrorType.INVALID_INPUT
