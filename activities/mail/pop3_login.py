"""From a connected socket to a POP3 session that has its maildrop: greeting, STLS, login."""

from __future__ import annotations

import base64
from typing import Final

from activities.mail.imap_wires import Wires
from activities.mail.pop3_reply import Reply, refusal
from activities.mail.pop3_wire import Pop3Wire
from activities.ports import Endpoint
from models.account import LoginMethod, Security
from models.errors import ConnectorError, ErrorType

_PLAIN: Final = "AUTH=PLAIN"
_BREAKERS: Final = frozenset("\r\n\0")


def log_in(endpoint: Endpoint, wires: Wires) -> tuple[Pop3Wire, frozenset[str]]:
    """Connect, secure the connection as configured, log in; return also what the server can do.

    The password leaves only after TLS where TLS is configured. APOP is not used: it rests on MD5,
    whoever is in between can learn the password from it (CVE-2007-1558), and under TLS it adds
    nothing.

    Raises:
        ConnectorError: Any of it failed; the connection is closed.
    """
    user, secret = _credentials(endpoint)
    wire = wires.open(Pop3Wire, endpoint)
    try:
        with wire.step("(greeting)"):
            _expect(wire, "connecting")
        offered = capabilities(wire)
        if endpoint.security is Security.STARTTLS:
            _start_tls(wire, offered)
            offered = capabilities(wire)  # what was said in clear counts for nothing (RFC 2595 §4)
        _authenticate(wire, offered, user, secret)
        return wire, capabilities(wire)
    except BaseException:
        wire.close()
        raise


def capabilities(wire: Pop3Wire) -> frozenset[str]:
    """CAPA (RFC 2449 §5), with AUTH=NAME for each way to log in; none where it is not known."""
    with wire.step("CAPA"):
        wire.command("CAPA")
        if not wire.reply().ok:
            return frozenset()
        found: set[str] = set()
        for line in wire.listing():
            word, *parameters = line.decode("ascii", "replace").upper().split()[:50] or [""]
            if word == "SASL":
                found.update(f"AUTH={name}" for name in parameters)
            elif word.isascii() and word.isprintable() and word:
                found.add(word[:40])
        return frozenset(found)


def _credentials(endpoint: Endpoint) -> tuple[str, str]:
    if endpoint.login is LoginMethod.OAUTH:
        raise ConnectorError(
            ErrorType.CAPABILITY_MISSING,
            "POP3 servers are logged in to with a password here; set the login method to 'basic'.",
            field="login",
        )
    if endpoint.login is LoginMethod.NONE or endpoint.username is None or endpoint.password is None:
        raise ConnectorError(
            ErrorType.ACCOUNT_INCOMPLETE,
            "A POP3 server wants a login; the user name or the password is missing.",
        )
    secret = endpoint.password.get_secret_value()
    for value, field in ((endpoint.username, "username"), (secret, "password")):
        if _BREAKERS.intersection(value) or not _is_text(value):
            raise ConnectorError(
                ErrorType.INVALID_INPUT, "has a line break, a NUL or half a character", field=field
            )
    return endpoint.username, secret


def _is_text(value: str) -> bool:
    """Whether it can be sent at all: a lone surrogate is no character."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _start_tls(wire: Pop3Wire, offered: frozenset[str]) -> None:
    if "STLS" not in offered:
        raise _no_tls(wire, "the server does not offer STLS.")
    with wire.step("STLS"):
        wire.command("STLS")
        reply = wire.reply()
        if not reply.ok:
            raise _no_tls(wire, f"STLS is refused: {reply.text}")
        wire.secure()


def _no_tls(wire: Pop3Wire, why: str) -> ConnectorError:
    return wire.failure(
        ErrorType.TLS_UNAVAILABLE,
        f"{why} Use security 'tls' on the port for it (995), or ask the server's administrator; "
        "no password was sent.",
    )


def _authenticate(wire: Pop3Wire, offered: frozenset[str], user: str, secret: str) -> None:
    # A server without CAPA is one of before SASL.
    if _PLAIN in offered:
        with wire.step("AUTH PLAIN"):
            _plain(wire, user, secret)
    elif not offered or "USER" in offered:
        with wire.step("USER"):
            wire.command("USER", user)
            _expect_login(wire, wire.reply(), secret)
        with wire.step("PASS"):
            wire.command("PASS", secret)
            _expect_login(wire, wire.reply(), secret)
    elif wire.endpoint.security is Security.NONE:
        raise _no_tls(wire, "the server takes no password without TLS.")
    else:
        raise wire.failure(
            ErrorType.CAPABILITY_MISSING, "the server takes no password; use OAuth 2.0."
        )


def _plain(wire: Pop3Wire, user: str, secret: str) -> None:
    # Not as an initial response: a command has 255 octets at most (RFC 5034 §4).
    response = base64.b64encode(f"\0{user}\0{secret}".encode()).decode("ascii")
    wire.command("AUTH", "PLAIN")
    refused = wire.challenge()
    if refused is None:
        wire.command(response)
        refused = wire.reply()
    _expect_login(wire, refused, secret, response)


def _expect_login(wire: Pop3Wire, reply: Reply, *secrets: str) -> None:
    """The password is wrong unless a code says other."""
    if not reply.ok:
        said = reply.without(*secrets)
        raise refusal(wire.endpoint, "logging in", said, ErrorType.CREDENTIALS_REJECTED)


def _expect(wire: Pop3Wire, what: str) -> None:
    reply = wire.reply()
    if not reply.ok:
        raise refusal(wire.endpoint, what, reply)
