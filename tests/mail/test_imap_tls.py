"""IMAP without TLS where TLS is wanted: no password leaves, nothing said before TLS counts."""

from __future__ import annotations

import base64
import ssl

import pytest

from activities.mail.imap import ImapConnector
from models.account import Security
from models.errors import ErrorType
from tests.imap_server import CAPABILITIES, Command, ImapServer, Session
from tests.mail.imap_hostile_kit import (
    PASSWORD,
    connect,
    endpoint,
    fails_soon,
    server,
    then_silent,
)
from tools.servers.ca import TestCA

__all__ = ["server"]


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
    async def injected(session: Session, command: Command) -> None:
        await session.send(
            command.tag + b" OK go\r\n* CAPABILITY IMAP4rev1 X-INJECTED LOGINDISABLED\r\n"
            b"* BYE injected\r\n"
        )
        await session.start_tls()

    with ImapServer(
        capabilities=CAPABILITIES + " STARTTLS", context=_server_context(test_ca)
    ) as server:
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


def test_plain_in_two_steps_where_login_is_off(test_ca: TestCA) -> None:
    capabilities = "IMAP4rev1 STARTTLS LOGINDISABLED AUTH=PLAIN"
    with ImapServer(capabilities=capabilities, context=_server_context(test_ca)) as server:
        server.on("STARTTLS", _start_tls)
        server.on("AUTHENTICATE", _two_steps)
        given = endpoint(server, security=Security.STARTTLS, ca_file=str(test_ca.ca_file))
        with ImapConnector().connect(given) as mailbox:
            assert mailbox.exists("INBOX")


async def _start_tls(session: Session, command: Command) -> None:
    await session.send(command.tag + b" OK go\r\n")
    await session.start_tls()


async def _two_steps(session: Session, command: Command) -> None:
    assert command.text == b"PLAIN"
    await session.send(b"+ \r\n")
    answer = base64.b64decode(await session.reader.readline())
    word = b"OK" if answer == f"\0user\0{PASSWORD}".encode() else b"NO"
    await session.send(command.tag + b" " + word + b" done\r\n")


def _server_context(ca: TestCA) -> ssl.SSLContext:
    certificate = ca.issue()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain, certificate.key)
    return context
