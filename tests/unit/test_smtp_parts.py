"""Replies, extensions, guards and error translation, without a server."""

from __future__ import annotations

import errno
import socket
import ssl
from dataclasses import replace
from datetime import timedelta

import aiosmtplib
import pytest

from activities.mail.errors import network_failure, reply_failure, server_name, smtp_failure
from activities.mail.smtp_extensions import Extensions
from activities.mail.smtp_guard import check_ehlo_name, wire_path
from activities.mail.smtp_reply import parse_reply
from activities.ports import Endpoint, SmtpFailure
from models.account import LoginMethod, Security
from models.delivery import Phase
from models.errors import ErrorType
from models.failure import Failure

SERVER = Endpoint(
    "mail.x.example", 587, Security.TLS, LoginMethod.NONE, None, None, timedelta(seconds=1), True
)


# --- replies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text", "enhanced", "clean"),
    [
        (250, "2.1.0 ok", "2.1.0", "ok"),
        (550, "5.1.1 no\n5.1.1 such user", "5.1.1", "no such user"),
        (550, "5.1.1", "5.1.1", ""),
        (550, "no code", None, "no code"),
        (550, "4.1.1 another class", None, "4.1.1 another class"),
        (550, "5.1.1234 too long", None, "5.1.1234 too long"),
        (550, "5.1.1x", None, "5.1.1x"),
        (250, "1.2.3.4 is my address", None, "1.2.3.4 is my address"),
        (250, "", None, ""),
        (550, "5.7.1 a\x1b[1m\tb\x00c", "5.7.1", "a [1m b c"),
    ],
)
def test_reply_text_and_enhanced_code(code, text, enhanced, clean):
    reply = parse_reply(code, text)
    assert (reply.code, reply.enhanced_code, reply.text) == (code, enhanced, clean)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("greylisted, try again in 5 minutes", 300),
        ("Try Again After 90 Seconds, please", 90),
        ("greylisted for 1 minute", 60),
        ("in 30s", 30),
        ("come back in 2 hours", 3600),
        ("in 0 seconds", 1),
        ("in 99999 hours", 3600),
        ("see section 5 minutes of the meeting", None),
        ("for 5 mails", None),
        ("in 123456789 seconds", None),
        ("later", None),
    ],
)
def test_hints_when_to_come_back(text, seconds):
    expected = timedelta(seconds=seconds) if seconds else None
    assert parse_reply(451, text).retry_after == expected
    assert parse_reply(551, text).retry_after is None
    failure = reply_failure(SERVER, Phase.MAIL, parse_reply(451, text))
    assert failure.retry_after == expected


# --- extensions -----------------------------------------------------------------------------------


def test_extensions():
    parsed = Extensions.parse(
        "mx.example SIZE 1\nSIZE 100\nauth PLAIN login\nAUTH=LOGIN XOAUTH2\n8bitmime\n"
        "X-\u20ac\n\n<html>\nPIPELINING"
    )
    assert parsed.mechanisms == ("PLAIN", "LOGIN", "XOAUTH2")
    assert parsed.size_limit == 100
    assert parsed.capabilities == {
        "SIZE", "AUTH", "8BITMIME", "PIPELINING", "AUTH=PLAIN", "AUTH=LOGIN", "AUTH=XOAUTH2",
    }  # fmt: skip


# --- guard ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("a@x.example", b"a@x.example"),
        ("a.b+c=d!#$%&'*/?^_`{|}~-@x.example", b"a.b+c=d!#$%&'*/?^_`{|}~-@x.example"),
        ('"a@b"@x.example', b'"a@b"@x.example'),
        (r'"a\"b"@x.example', rb'"a\"b"@x.example'),
        ("a@[192.0.2.1]", b"a@[192.0.2.1]"),
        ("a@[IPv6:2001:db8::1]", b"a@[IPv6:2001:db8::1]"),
        ("a@BÜCHER.example", b"a@xn--bcher-kva.example"),
        ("a@faß.example", b"a@xn--fa-hia.example"),
        ("ü@x.example", "ü@x.example".encode()),
    ],
)
def test_paths(address, path):
    assert wire_path(address, "sender") == path


@pytest.mark.parametrize("name", ["mail.example", "localhost", "[192.0.2.1]", "[IPv6:fe80::1]"])
def test_ehlo_names(name):
    check_ehlo_name(name)


# --- errors ---------------------------------------------------------------------------------------


def caused(outer: BaseException, inner: BaseException) -> BaseException:
    outer.__cause__ = inner
    return outer


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


def certificate_error(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_code, error.verify_message = code, message
    return error


@pytest.mark.parametrize(
    ("exc", "type_"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), ErrorType.HOST_NOT_FOUND),
        (socket.gaierror(socket.EAI_AGAIN, "x"), ErrorType.HOST_NOT_FOUND),
        (UnicodeError("label too long"), ErrorType.HOST_NOT_FOUND),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), ErrorType.CONNECTION_FAILED),
        (OSError(errno.ENETUNREACH, "x"), ErrorType.CONNECTION_FAILED),
        (OSError(errno.EHOSTUNREACH, "x"), ErrorType.CONNECTION_FAILED),
        (OSError("Multiple exceptions: …"), ErrorType.CONNECTION_FAILED),
        (TimeoutError(), ErrorType.CONNECTION_TIMED_OUT),
        (OSError(errno.ETIMEDOUT, "x"), ErrorType.CONNECTION_TIMED_OUT),
        (aiosmtplib.SMTPReadTimeoutError("x"), ErrorType.CONNECTION_TIMED_OUT),
        (
            caused(aiosmtplib.SMTPTimeoutError("x"), ConnectionAbortedError()),
            ErrorType.CONNECTION_TIMED_OUT,
        ),
        (ConnectionResetError(errno.ECONNRESET, "x"), ErrorType.CONNECTION_LOST),
        (BrokenPipeError(errno.EPIPE, "x"), ErrorType.CONNECTION_LOST),
        (EOFError(), ErrorType.CONNECTION_LOST),
        (aiosmtplib.SMTPServerDisconnected("x"), ErrorType.CONNECTION_LOST),
        (
            caused(aiosmtplib.SMTPServerDisconnected("x"), ConnectionResetError()),
            ErrorType.CONNECTION_LOST,
        ),
        (ssl.SSLEOFError(8, "x"), ErrorType.CONNECTION_LOST),
        (ssl.SSLZeroReturnError(6, "x"), ErrorType.CONNECTION_LOST),
        (tls_error("SSLV3_ALERT_HANDSHAKE_FAILURE"), ErrorType.CONNECTION_LOST),
        (tls_error("WRONG_VERSION_NUMBER"), ErrorType.PROTOCOL_VIOLATION),
        (tls_error("UNSUPPORTED_PROTOCOL"), ErrorType.TLS_UNAVAILABLE),
        (tls_error("CA_MD_TOO_WEAK"), ErrorType.CERTIFICATE_REJECTED),
        (certificate_error(62, "Hostname mismatch"), ErrorType.CERTIFICATE_REJECTED),
        (
            caused(aiosmtplib.SMTPConnectError("x"), certificate_error(10, "expired")),
            ErrorType.CERTIFICATE_REJECTED,
        ),
    ],
)
def test_network_failures(exc, type_):
    failure = network_failure(exc, SERVER, "connecting")
    assert failure.type is type_
    assert failure.message.startswith("mail.x.example:587, connecting: ")
    assert smtp_failure(exc, SERVER, Phase.BODY).type is type_


def test_certificate_failures_say_why_and_what_to_do():
    message = network_failure(certificate_error(20, "unable to get…"), SERVER, "x").message
    assert "unable to get" in message
    assert "ca_file" in message
    assert "another certificate" in network_failure(certificate_error(7, "x"), SERVER, "x").message


@pytest.mark.parametrize(
    ("phase", "code", "text", "type_"),
    [
        (Phase.BANNER, 554, "no", ErrorType.SERVER_REFUSED),
        (Phase.BANNER, 421, "busy", ErrorType.SERVER_UNAVAILABLE),
        (Phase.STARTTLS, 454, "4.7.0 later", ErrorType.SERVER_UNAVAILABLE),
        (Phase.STARTTLS, 502, "5.5.1 no", ErrorType.TLS_UNAVAILABLE),
        (Phase.AUTH, 535, "5.7.8 no", ErrorType.CREDENTIALS_REJECTED),
        (Phase.AUTH, 554, "5.7.8 no", ErrorType.CREDENTIALS_REJECTED),
        (Phase.AUTH, 454, "4.7.0 later", ErrorType.SERVER_UNAVAILABLE),
        (Phase.MAIL, 550, "5.1.8 no", ErrorType.SENDER_REFUSED),
        (Phase.MAIL, 530, "5.7.0 login", ErrorType.CREDENTIALS_REJECTED),
        (Phase.MAIL, 550, "5.7.30 basic", ErrorType.CREDENTIALS_REJECTED),
        (Phase.MAIL, 552, "5.3.4 big", ErrorType.MESSAGE_TOO_LARGE),
        (Phase.MAIL, 552, "big", ErrorType.MESSAGE_TOO_LARGE),
        (Phase.MAIL, 552, "5.2.2 full", ErrorType.SENDER_REFUSED),
        (Phase.MAIL, 451, "later", ErrorType.SERVER_UNAVAILABLE),
        (Phase.MAIL, 452, "4.3.1 space", ErrorType.SERVER_UNAVAILABLE),
        (Phase.DATA, 554, "5.5.1 no", ErrorType.SERVER_REFUSED),
        (Phase.DATA, 451, "later", ErrorType.SERVER_UNAVAILABLE),
        (Phase.REPLY, 554, "5.6.0 spam", ErrorType.SERVER_REFUSED),
        (Phase.REPLY, 554, "5.3.4 big", ErrorType.MESSAGE_TOO_LARGE),
        (Phase.REPLY, 354, "again", ErrorType.PROTOCOL_VIOLATION),
        (Phase.DONE, 554, "5.6.0 spam", ErrorType.SERVER_REFUSED),
    ],
)
def test_reply_failures(phase, code, text, type_):
    failure = reply_failure(SERVER, phase, parse_reply(code, text))
    assert isinstance(failure, SmtpFailure)
    assert (failure.type, failure.phase) == (type_, phase)
    assert str(code) in failure.message
    data = Failure.of(failure)
    assert (data.phase, data.code) == (phase.value, code)


def test_every_phase_and_type_has_words():
    for phase in Phase:
        for code in (250, 421, 450, 500, 552):
            assert reply_failure(SERVER, phase, parse_reply(code, "x")).message


def test_server_name():
    assert server_name(SERVER) == "mail.x.example:587"
    assert server_name(replace(SERVER, host="2001:db8::1")) == "[2001:db8::1]:587"
