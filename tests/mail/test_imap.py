"""The IMAP adapter against a real Dovecot."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import pytest
from pydantic import SecretStr

from activities.mail import imap_login
from activities.mail.imap import ImapConnector
from models.account import LoginMethod, Security
from models.errors import ErrorType
from tests.mail.imap_kit import (
    User,
    connect_failure,
    endpoint,
    failure_of,
    minimal,
    new_user,
    running_dovecot,
    sent,
    stack,
    user,
)
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot

__all__ = ["minimal", "sent", "stack", "user"]


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
