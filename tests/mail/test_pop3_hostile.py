"""The POP3 adapter against a server that refuses, lies, floods, cuts and stays silent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from activities.mail import pop3_wire
from activities.ports import Endpoint
from activities.store.assembly import Store
from models.account import LoginMethod, Security
from models.errors import ErrorType
from tests.mail.imap_hostile_kit import fails_soon
from tests.mail.imap_kit import failure_of
from tests.mail.pop3_kit import (
    EVERYTHING,
    PASSWORD,
    connected,
    fetched,
    forever,
    opened,
    scripted,
    state,
    store,
    then_cut,
    then_silent,
)
from tests.pop3_server import CAPABILITIES, Answer, Pop3Server, Session, some_mails, stuffed
from tools.servers.ca import TestCA

__all__ = ["store"]

LIMIT = 1000


@pytest.fixture
def server() -> Iterator[Pop3Server]:
    with Pop3Server() as server:
        yield server


def remove(store: Store, given: Endpoint, *uids: int) -> None:
    with opened(store, given) as mailbox:
        mailbox.remove(uids)


def everything(store: Store, given: Endpoint) -> None:
    """Say every command there is."""
    fetched(store, given, max_mail=LIMIT)
    remove(store, given, 1)


def test_the_server_is_fine_by_itself(server: Pop3Server, store: Store) -> None:
    given, mails = scripted(server), list(server.mails)
    assert fetched(store, given) == [(n, raw) for n, (_, raw) in enumerate(mails, 1)]
    remove(store, given, 2)
    assert server.mails == [mails[0], mails[2]]
    assert fetched(store, given) == [(1, mails[0][1]), (3, mails[2][1])]


# --- Logging in

LOGINS: list[tuple[tuple[str, ...] | None, list[str]]] = [
    (CAPABILITIES, ["CAPA", "AUTH"]),
    (("USER", "UIDL"), ["CAPA", "USER", "PASS"]),
    (("USER", "SASL CRAM-MD5"), ["CAPA", "USER", "PASS"]),
    (None, ["CAPA", "USER", "PASS"]),
]


@pytest.mark.parametrize(("capabilities", "verbs"), LOGINS)
def test_ways_to_log_in(
    store: Store, capabilities: tuple[str, ...] | None, verbs: list[str]
) -> None:
    with Pop3Server(capabilities=capabilities) as server:
        assert [raw for _, raw in fetched(store, scripted(server))] == [r for _, r in server.mails]
        assert server.verbs[: len(verbs)] == verbs
        assert "APOP" not in server.verbs


@pytest.mark.parametrize(
    ("security", "type_"),
    [
        (Security.NONE, ErrorType.TLS_UNAVAILABLE),
        (Security.STARTTLS, ErrorType.CAPABILITY_MISSING),
    ],
)
def test_a_server_that_takes_no_password(
    store: Store, test_ca: TestCA, security: Security, type_: ErrorType
) -> None:
    with Pop3Server(
        capabilities=("STLS", "UIDL", "SASL XOAUTH2"), context=server_context(test_ca)
    ) as server:
        server.on("STLS", start_tls)
        with fails_soon(type_):
            state(store, scripted(server, security=security, ca_file=str(test_ca.ca_file)))
        assert not {"USER", "PASS", "AUTH"}.intersection(server.verbs)


def server_context(ca: TestCA) -> ssl.SSLContext:
    certificate = ca.issue()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain, certificate.key)
    return context


async def start_tls(session: Session, _argument: bytes) -> None:
    await session.send(b"+OK go ahead\r\n")
    await session.start_tls()


async def start_tls_with_more(session: Session, _argument: bytes) -> None:
    # What an attacker puts behind the answer must not be taken for something said under TLS.
    await session.send(b"+OK go ahead\r\n+OK\r\nUSER\r\nEVIL\r\n.\r\n")
    await session.start_tls()


@pytest.mark.parametrize("answer", [start_tls, start_tls_with_more])
def test_starttls(store: Store, test_ca: TestCA, answer: Answer) -> None:
    with Pop3Server(
        capabilities=(*CAPABILITIES, "STLS"), context=server_context(test_ca)
    ) as server:
        server.on("STLS", answer)
        given = scripted(server, security=Security.STARTTLS, ca_file=str(test_ca.ca_file))
        with connected(store, given) as mailbox:
            assert "EVIL" not in mailbox.capabilities
        assert server.verbs[:4] == ["CAPA", "STLS", "CAPA", "AUTH"]


@pytest.mark.parametrize("answer", [b"-ERR no\r\n", None])
def test_no_password_leaves_without_starttls(store: Store, answer: bytes | None) -> None:
    capabilities = (*CAPABILITIES, "STLS") if answer else CAPABILITIES
    with Pop3Server(capabilities=capabilities) as server:
        if answer:
            server.on("STLS", answer)
        with fails_soon(ErrorType.TLS_UNAVAILABLE):
            state(store, scripted(server, security=Security.STARTTLS))
        assert not {"USER", "PASS", "AUTH"}.intersection(server.verbs)


@pytest.mark.parametrize(
    ("said", "type_"),
    [
        (b"-ERR wrong", ErrorType.CREDENTIALS_REJECTED),
        (b"-ERR [AUTH] wrong", ErrorType.CREDENTIALS_REJECTED),
        (b"-ERR the text says [IN-USE] only", ErrorType.CREDENTIALS_REJECTED),
        (b"-ERR [IN-USE] another session", ErrorType.MAILBOX_BUSY),
        (b"-err [in-use] another session", ErrorType.MAILBOX_BUSY),
        (b"-ERR [LOGIN-DELAY] not yet", ErrorType.SERVER_UNAVAILABLE),
        (b"-ERR [SYS/TEMP] later", ErrorType.SERVER_UNAVAILABLE),
        (b"-ERR [SYS/PERM] never", ErrorType.SERVER_REFUSED),
        (b"-ERR " + PASSWORD.encode() + b" is wrong", ErrorType.CREDENTIALS_REJECTED),
        (b"what?", ErrorType.PROTOCOL_VIOLATION),
    ],
)
def test_refused_logins(store: Store, said: bytes, type_: ErrorType) -> None:
    with Pop3Server(capabilities=("USER",)) as server:
        server.on("PASS", said + b"\r\n")
        with fails_soon(type_):
            state(store, scripted(server))


@pytest.mark.parametrize(
    "changes",
    [{"login": LoginMethod.NONE}, {"login": LoginMethod.OAUTH}, {"password": None}],
)
def test_a_login_that_cannot_be_is_not_tried(
    server: Pop3Server, store: Store, changes: dict[str, Any]
) -> None:
    with fails_soon(ErrorType.ACCOUNT_INCOMPLETE, ErrorType.CAPABILITY_MISSING):
        state(store, scripted(server, **changes))
    assert server.lines == []


# --- Injection

BREAKING = ["x\r\nDELE 1\r\n", "x\nDELE 1", "x\rDELE 1", "x\0y", "\ud800"]
CONTROL = ["x\x1f", "x\x7f", "a\tb"]


@pytest.mark.parametrize("field", ["username", "password"])
@pytest.mark.parametrize("value", BREAKING + CONTROL)
@pytest.mark.parametrize("capabilities", [("USER",), CAPABILITIES])
def test_no_value_becomes_a_command(
    store: Store, field: str, value: str, capabilities: tuple[str, ...]
) -> None:
    with Pop3Server(capabilities=capabilities) as server:
        given = scripted(server, **{field: SecretStr(value) if field == "password" else value})
        if value in CONTROL and capabilities is CAPABILITIES:
            state(store, given)  # in BASE64 they are harmless
        else:
            with fails_soon(ErrorType.INVALID_INPUT):
                state(store, given)
        assert not {"DELE"}.intersection(server.verbs)
        assert all(line.endswith(b"\r\n") and line.count(b"\r") == 1 for line in server.lines)


# --- Every command, every misdeed

COMMANDS = ["GREETING", "CAPA", "AUTH", "UIDL", "LIST", "RETR", "DELE"]
MISDEEDS: dict[str, tuple[Callable[[], Answer], set[ErrorType]]] = {
    "cut": (lambda: then_cut(b""), {ErrorType.CONNECTION_LOST}),
    "half a line": (lambda: then_cut(b"+OK he"), {ErrorType.CONNECTION_LOST}),
    "half an answer": (
        lambda: then_cut(b"+OK\r\n1 a"),
        {ErrorType.CONNECTION_LOST, ErrorType.PROTOCOL_VIOLATION},
    ),
    "silence": (lambda: then_silent(b""), {ErrorType.CONNECTION_TIMED_OUT}),
    "silence later": (
        lambda: then_silent(b"+OK\r\n1 a\r\n"),
        {ErrorType.CONNECTION_TIMED_OUT, ErrorType.PROTOCOL_VIOLATION},
    ),
    "garbage": (lambda: b"\x00\xff\x16\x03\r\n", {ErrorType.PROTOCOL_VIOLATION}),
    "bare line feed": (lambda: b"+OK\n", {ErrorType.PROTOCOL_VIOLATION}),
    "over-long line": (lambda: forever(b"+OK ", b"x" * 10_000), {ErrorType.PROTOCOL_VIOLATION}),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_misdeeds(server: Pop3Server, store: Store, command: str, misdeed: str) -> None:
    make, types = MISDEEDS[misdeed]
    server.on(command, make())
    with fails_soon(*types, within=10):
        everything(store, scripted(server))
    assert server.mails == some_mails(3)


@pytest.mark.parametrize("command", ["GREETING", "UIDL", "LIST", "RETR", "DELE"])
def test_refusals(server: Pop3Server, store: Store, command: str) -> None:
    server.on(command, b"-ERR [SYS/TEMP] not now\r\n")
    with fails_soon(ErrorType.SERVER_UNAVAILABLE):
        everything(store, scripted(server))
    assert server.mails == some_mails(3)


@pytest.mark.parametrize("command", ["CAPA", "UIDL", "LIST"])
@pytest.mark.parametrize("line", [b"1 a\r\n", b"x" * 5000])
def test_endless_listings(
    server: Pop3Server,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    line: bytes,
) -> None:
    monkeypatch.setattr(pop3_wire, "MAX_LISTING", 200_000)
    server.on(command, forever(b"+OK\r\n", line))
    with fails_soon(ErrorType.PROTOCOL_VIOLATION, within=20):
        everything(store, scripted(server))


@pytest.mark.parametrize(
    "lines", [b"1\r\n", b"x y\r\n", b"1 a\r\n1 b\r\n", b"1 \x01\r\n", b"1 " + b"x" * 256 + b"\r\n"]
)
def test_a_listing_that_makes_no_sense(server: Pop3Server, store: Store, lines: bytes) -> None:
    server.on("UIDL", b"+OK\r\n" + lines + b".\r\n")
    with fails_soon(ErrorType.PROTOCOL_VIOLATION):
        state(store, scripted(server))


def test_a_server_without_uidls_is_of_no_use(server: Pop3Server, store: Store) -> None:
    server.on("UIDL", b"-ERR unknown command\r\n")
    with connected(store, scripted(server)) as mailbox:
        error = failure_of(mailbox.open, "INBOX", read_only=True)
        assert (error.type, error.temporary) == (ErrorType.CAPABILITY_MISSING, False)
        # The check of an account says so too.
        assert failure_of(mailbox.exists, "INBOX").type is ErrorType.CAPABILITY_MISSING


# --- Mails


@pytest.mark.parametrize(
    "content",
    [
        b".\r\n",
        b"..\r\n.\r\n",
        b".first\r\n",
        b"\r\n.\r\n\r\n",
        b"a\n.\nb\r\n",  # no line ends here but the last
        b"a\r.\rb\r\n",
        b"x" * 300_000 + b"\r\n.\r\n" + b"y" * 300_000 + b"\r\n",
        b".\r\n" * 100_000,
    ],
)
@pytest.mark.parametrize("pipelining", [True, False])
def test_mails_are_read_exactly(store: Store, content: bytes, pipelining: bool) -> None:
    capabilities = CAPABILITIES if pipelining else ("USER",)
    mails = [("a", content), ("b", b"Subject: b\r\n\r\nb\r\n"), ("c", content)]
    with Pop3Server(mails, capabilities=capabilities) as server:
        given = scripted(server)
        assert [raw for _, raw in fetched(store, given)] == [raw for _, raw in mails]


def test_an_answer_in_single_octets(server: Pop3Server, store: Store) -> None:
    async def retr(session: Session, argument: bytes) -> None:
        for octet in b"+OK\r\n" + stuffed(session.mails[int(argument) - 1][1]):
            await session.send(bytes([octet]))

    server.on("RETR", retr)
    assert [raw for _, raw in fetched(store, scripted(server))] == [r for _, r in server.mails]


def test_a_mail_larger_than_announced(server: Pop3Server, store: Store) -> None:
    server.on("RETR", forever(b"+OK\r\n", b"x" * 100 + b"\r\n"))
    with fails_soon(ErrorType.MESSAGE_TOO_LARGE):
        fetched(store, scripted(server), max_mail=LIMIT)


def test_a_drip_is_not_waited_for(server: Pop3Server, store: Store) -> None:
    async def retr(session: Session, _argument: bytes) -> None:
        await session.send(b"+OK\r\n")
        while True:
            await session.send(b"x")
            await asyncio.sleep(0.05)

    server.on("RETR", retr)
    with fails_soon(ErrorType.CONNECTION_TIMED_OUT):
        fetched(store, scripted(server))


def test_a_fetch_left_early_drops_the_connection(server: Pop3Server, store: Store) -> None:
    with opened(store, scripted(server), read_only=True) as mailbox:
        mails = mailbox.fetch([1, 2, 3])
        next(mails)
        assert failure_of(mailbox.uids, EVERYTHING).type is ErrorType.INTERNAL
        del mails
    assert "QUIT" not in server.verbs


def test_what_was_only_read_is_left_without_quit(server: Pop3Server, store: Store) -> None:
    """At QUIT a server may remove what was read (RFC 1939 §8)."""
    fetched(store, scripted(server))
    assert "QUIT" not in server.verbs
    state(store, scripted(server))
    assert server.verbs[-1] == "QUIT"


# --- Removal


async def update_then_cut(session: Session, _argument: bytes) -> None:
    session.commit()
    session.writer.close()


async def update_then_lie(session: Session, _argument: bytes) -> None:
    session.commit()
    await session.send(b"-ERR some messages were not removed\r\n")


AMBIGUOUS: dict[str, tuple[Answer, bool]] = {
    "cut before the update": (then_cut(b""), False),
    "cut after the update": (update_then_cut, True),
    "silent before the update": (then_silent(b""), False),
    "refused": (b"-ERR [SYS/TEMP] not removed\r\n", False),
    "refused although done": (update_then_lie, True),
    "cut in the answer": (then_cut(b"+O"), False),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_quit_that_is_not_answered(server: Pop3Server, store: Store, case: str) -> None:
    """It is no success; the next session sees by the UIDLs what is left to do."""
    given, kept = scripted(server), server.mails[2]
    answer, done = AMBIGUOUS[case]
    server.on("QUIT", answer)
    with fails_soon():
        remove(store, given, 1, 2)
    assert len(server.mails) == (1 if done else 3)
    server.by_itself("QUIT")
    before = len(server.lines)
    remove(store, given, 1, 2)
    assert server.mails == [kept]
    again = [line for line in server.lines[before:] if line.startswith(b"DELE")]
    assert len(again) == (0 if done else 2)


def test_a_cut_before_quit_removes_nothing(server: Pop3Server, store: Store) -> None:
    count = 0

    async def dele(session: Session, argument: bytes) -> None:
        nonlocal count
        count += 1
        session.deleted.append(int(argument))
        if count == 2:
            session.writer.close()
        else:
            await session.send(b"+OK\r\n")

    server.on("DELE", dele)
    with fails_soon(ErrorType.CONNECTION_LOST):
        remove(store, scripted(server), 1, 2, 3)
    assert server.mails == some_mails(3)
    assert "QUIT" not in server.verbs


def test_a_refused_dele_removes_nothing(server: Pop3Server, store: Store) -> None:
    async def dele(session: Session, argument: bytes) -> None:
        if argument == b"2":
            await session.send(b"-ERR no\r\n")
        else:
            session.deleted.append(int(argument))
            await session.send(b"+OK\r\n")

    server.on("DELE", dele)
    error = failure_of(remove, store, scripted(server), 1, 2, 3)
    assert (error.type, error.detail["uid"]) == (ErrorType.SERVER_UNAVAILABLE, 2)
    assert server.mails == some_mails(3)
    assert "QUIT" not in server.verbs


# --- UIDLs


def test_copies_with_one_uidl(store: Store) -> None:
    mails = [("same", b"Subject: x\r\n\r\n1\r\n"), ("same", b"Subject: x\r\n\r\n2\r\n")]
    with Pop3Server(list(mails)) as server:
        given = scripted(server)
        assert fetched(store, given) == [(1, mails[0][1]), (2, mails[1][1])]
        assert fetched(store, given) == [(1, mails[0][1]), (2, mails[1][1])]
        # One is gone; which of them cannot be told, so the other is read again.
        server.mails.pop(0)
        assert fetched(store, given) == [(3, mails[1][1])]
        remove(store, given, 1)
        remove(store, given, 2)
        assert server.mails == mails[1:]


def test_different_mails_with_one_uidl_go_together_or_not_at_all(store: Store) -> None:
    mails = [("same", b"Subject: x\r\n\r\n1\r\n"), ("same", b"Subject: x\r\n\r\n2\r\n")]
    with Pop3Server(list(mails)) as server:
        given = scripted(server)
        state(store, given)
        server.mails.reverse()  # the server tells them in another order: 1 would be the other mail
        error = failure_of(remove, store, given, 1)
        assert (error.type, error.field) == (ErrorType.CAPABILITY_MISSING, "handling")
        assert server.mails == mails[::-1]
        assert "DELE" not in server.verbs
        remove(store, given, 1, 2)
        assert server.mails == []


def test_the_same_mail_twice_with_one_uidl_goes_one_by_one(store: Store) -> None:
    mail = ("same", b"Subject: x\r\n\r\n1\r\n")
    with Pop3Server([mail, mail]) as server:
        given = scripted(server)
        state(store, given)
        remove(store, given, 1)
        assert server.mails == [mail]


def test_a_uidl_that_comes_back_is_a_new_mail(store: Store) -> None:
    with Pop3Server() as server:
        given, mails = scripted(server), list(server.mails)
        state(store, given)
        server.mails[:] = [("id-1", b"Subject: another\r\n\r\n")]
        assert [n for n, _ in fetched(store, given)] == [1]
        server.mails[:] = []
        assert state(store, given).uid_next == 4
        server.mails[:] = mails
        assert [n for n, _ in fetched(store, given)] == [4, 5, 6]


def test_changed_uidls_make_all_mails_new(server: Pop3Server, store: Store) -> None:
    given = scripted(server)
    state(store, given)
    server.mails[:] = [(f"changed-{uidl}", raw) for uidl, raw in server.mails]
    assert [n for n, _ in fetched(store, given)] == [4, 5, 6]


def test_another_user_has_another_maildrop(server: Pop3Server, store: Store) -> None:
    one, two = scripted(server), scripted(server, username="somebody-else")
    assert state(store, one).uid_validity != state(store, two).uid_validity
    assert state(store, one).uid_next == state(store, two).uid_next == 4
