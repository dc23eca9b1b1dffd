"""Logging in to an SMTP server; passwords stay out of every message."""

from __future__ import annotations

import base64

import pytest

from models.account import LoginMethod
from models.delivery import Phase
from models.errors import ErrorType
from tests.mail.smtp_kit import (
    basic,
    deliver,
    endpoint,
    failure_of,
)
from tests.smtp_server import SmtpServer


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
async def test_each_mechanism_logs_in(mechanism):
    async with SmtpServer(auth=("bender", "sähr g€heim"), mechanisms=(mechanism,)) as server:
        target = endpoint(server.port, **basic(password="sähr g€heim"))
        assert (await deliver(target)).accepted
        assert server.connections[0].commands[1].startswith(f"AUTH {mechanism}")


async def test_without_tls_the_mechanism_that_hides_the_password_comes_first():
    async with SmtpServer(auth=("bender", "bite-my-shiny")) as server:
        await deliver(endpoint(server.port, **basic()))
        assert server.connections[0].commands[1] == "AUTH CRAM-MD5"


async def test_a_wrong_password_is_tried_once_and_never_shown():
    async with SmtpServer(auth=("bender", "right-one")) as server:
        failure = await failure_of(endpoint(server.port, **basic(password="wrong-one")))
        assert (failure.type, failure.phase) == (ErrorType.CREDENTIALS_REJECTED, Phase.AUTH)
        assert sum(c.startswith("AUTH") for c in server.connections[0].commands) == 1
        assert "wrong-one" not in failure.message


@pytest.mark.parametrize("echo", ["{plain}", "{word}", "{b64}", "x{word}x"])
async def test_a_server_that_repeats_the_password_does_not_get_it_into_messages(echo):
    word = "bite-my-shiny"
    text = echo.format(
        word=word.upper(),
        b64=base64.b64encode(word.encode()).decode(),
        plain=base64.b64encode(f"\0bender\0{word}".encode()).decode(),
    )
    async with SmtpServer(auth=("a", "b"), mechanisms=("PLAIN",)) as server:
        server.replies["AUTH"] = f"535 5.7.8 no {text}"
        failure = await failure_of(endpoint(server.port, **basic()))
        assert failure.type is ErrorType.CREDENTIALS_REJECTED
        assert failure.reply is not None
        assert text not in failure.message
        assert text not in failure.reply.text
        assert failure.__cause__ is None


async def test_a_mechanism_announced_but_not_implemented_is_skipped():
    async with SmtpServer(auth=("bender", "bite-my-shiny"), mechanisms=("PLAIN",)) as server:
        server.extensions = ("AUTH CRAM-MD5 PLAIN",)
        assert (await deliver(endpoint(server.port, **basic()))).accepted
        assert [c.split()[1] for c in server.connections[0].commands if c.startswith("AUTH")] == [
            "CRAM-MD5",
            "PLAIN",
        ]


async def test_old_style_announcement():
    async with SmtpServer(extensions=("AUTH=LOGIN",), mechanisms=("LOGIN",)) as server:
        server.auth = None
        server.replies["AUTH"] = "235 2.7.0 fine"
        assert (await deliver(endpoint(server.port, **basic()))).accepted


@pytest.mark.parametrize(
    ("reply", "type_"),
    [
        ("535 5.7.8 no", ErrorType.CREDENTIALS_REJECTED),
        ("534 5.7.9 too weak", ErrorType.CREDENTIALS_REJECTED),
        ("530 5.7.0 no", ErrorType.CREDENTIALS_REJECTED),
        ("550 5.7.1 no", ErrorType.CREDENTIALS_REJECTED),
        ("550 5.7.30 no", ErrorType.CREDENTIALS_REJECTED),
        ("454 4.7.0 later", ErrorType.SERVER_UNAVAILABLE),
        ("421 4.7.0 later", ErrorType.SERVER_UNAVAILABLE),
        ("501 5.5.2 what", ErrorType.SERVER_REFUSED),
        ("504 5.5.4 what", ErrorType.CAPABILITY_MISSING),
        ("250 what", ErrorType.PROTOCOL_VIOLATION),
        ("334 ***", ErrorType.PROTOCOL_VIOLATION),
    ],
)
async def test_replies_to_auth(reply, type_):
    async with SmtpServer(extensions=("AUTH CRAM-MD5",)) as server:
        server.replies["AUTH"] = reply
        failure = await failure_of(endpoint(server.port, **basic()))
        assert (failure.type, failure.phase) == (type_, Phase.AUTH)
        if "5.7.30" in reply:
            assert "Basic authentication is switched off on this server; use OAuth 2.0" in str(
                failure
            )


@pytest.mark.parametrize("offers", [(), ("AUTH XOAUTH2 OAUTHBEARER",)])
async def test_no_way_to_log_in(offers):
    async with SmtpServer(extensions=offers) as server:
        failure = await failure_of(endpoint(server.port, **basic()))
        assert failure.type is ErrorType.CAPABILITY_MISSING


async def test_incomplete_accounts_and_other_logins_are_refused():
    async with SmtpServer(auth=("a", "b")) as server:
        for changes, type_ in (
            (basic() | {"password": None}, ErrorType.ACCOUNT_INCOMPLETE),
            (basic() | {"username": ""}, ErrorType.ACCOUNT_INCOMPLETE),
            (basic() | {"login": LoginMethod.OAUTH}, ErrorType.CAPABILITY_MISSING),
        ):
            assert (await failure_of(endpoint(server.port, **changes))).type is type_
        assert not any(
            c.startswith("AUTH") for connection in server.connections for c in connection.commands
        )


async def test_a_login_that_the_account_lacks():
    async with SmtpServer(auth=("a", "b")) as server:
        failure = await failure_of(endpoint(server.port))
        assert (failure.type, failure.phase) == (ErrorType.CREDENTIALS_REJECTED, Phase.MAIL)
