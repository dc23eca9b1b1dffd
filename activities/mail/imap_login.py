"""From a connected socket to a logged-in IMAP session: greeting, STARTTLS, login."""

from __future__ import annotations

import base64
from typing import Final

from activities.mail.imap_guard import GuardedClient, GuardedIMAP4, understood
from activities.mail.imap_refusal import Refused, Status, login_refusal_type, refusal
from activities.mail.imap_text import astring, checked
from activities.mail.imap_wire import Wire
from activities.mail.imap_wires import Wires
from activities.ports import Endpoint
from models.account import LoginMethod, Security
from models.errors import ConnectorError, ErrorType, bounded

_PREAUTHENTICATED: Final = "AUTH"
_PLAIN: Final = "AUTH=PLAIN"


def log_in(endpoint: Endpoint, wires: Wires) -> GuardedClient:
    """Connect, secure the connection as configured, and log in.

    The password leaves only after TLS where TLS is configured: a server that does not offer it,
    or greets us as if we were logged in already, gets nothing.

    Raises:
        ConnectorError: Any of it failed; the connection is closed.
    """
    _check_credentials(endpoint)
    wire = wires.connect(endpoint)
    try:
        with understood(wire, "connecting"):
            client = GuardedClient(wire)
        if endpoint.security is Security.STARTTLS:
            _start_tls(client.engine)
        with understood(wire, "logging in"):
            if client.engine.state != _PREAUTHENTICATED:
                _authenticate(client.engine)
            client.capabilities()
    except BaseException:
        wire.close()
        raise
    return client


def _check_credentials(endpoint: Endpoint) -> None:
    if endpoint.login is LoginMethod.OAUTH:
        raise ConnectorError(
            ErrorType.CAPABILITY_MISSING,
            "IMAP servers are logged in to with a password here; set the login method to 'basic'.",
            field="login",
        )
    if endpoint.login is LoginMethod.BASIC:
        if endpoint.username is None or endpoint.password is None:
            raise ConnectorError(
                ErrorType.ACCOUNT_INCOMPLETE, "The user name or the password is missing."
            )
        checked(endpoint.username, "username")
        checked(endpoint.password.get_secret_value(), "password")


def _start_tls(engine: GuardedIMAP4) -> None:
    # A greeting PREAUTH would skip STARTTLS, which is allowed before login only (RFC 9051 §6.2.1):
    # the way of an attacker in between to keep us in clear.
    if engine.state == _PREAUTHENTICATED or "STARTTLS" not in engine.capabilities:
        raise _no_tls(engine.wire, "the server does not offer STARTTLS.")
    with understood(engine.wire, "starting TLS"):
        try:
            engine.secure()
        except Refused as exc:
            raise _no_tls(engine.wire, f"STARTTLS is refused: {exc.status.text}") from None


def _no_tls(wire: Wire, why: str) -> ConnectorError:
    return wire.failure(
        ErrorType.TLS_UNAVAILABLE,
        f"{why} Use security 'tls' on the port for it (993), or ask the server's administrator; "
        "no password was sent.",
    )


def _authenticate(engine: GuardedIMAP4) -> None:
    endpoint = engine.wire.endpoint
    offered = engine.capabilities
    if endpoint.login is LoginMethod.NONE or endpoint.username is None or endpoint.password is None:
        raise engine.wire.failure(
            ErrorType.ACCOUNT_INCOMPLETE, "the server wants a login, and none is configured."
        )
    barred = "LOGINDISABLED" in offered
    if barred and endpoint.security is Security.NONE:
        raise _no_tls(engine.wire, "the server takes no password without TLS.")
    secret = endpoint.password.get_secret_value()
    plain = base64.b64encode(f"\0{endpoint.username}\0{secret}".encode()).decode("ascii")
    try:
        if _PLAIN in offered and "SASL-IR" in offered:
            engine.ask("AUTHENTICATE", "PLAIN", plain)
        elif not barred:
            engine.run("LOGIN", astring(endpoint.username, "username"), astring(secret, "password"))
        elif _PLAIN in offered:
            engine.authenticate("PLAIN", lambda _: f"\0{endpoint.username}\0{secret}".encode())
        else:
            raise engine.wire.failure(
                ErrorType.CAPABILITY_MISSING, "the server takes no password; use OAuth 2.0."
            )
    except Refused as exc:
        status = _without_secrets(exc.status, secret, plain)
        raise refusal(endpoint, "logging in", status, login_refusal_type(status)) from None
    engine.state = "AUTH"


def _without_secrets(status: Status, *secrets: str) -> Status:
    """Return ``status`` without its text where that repeats what we sent."""
    if not any(bounded(secret) in status.text for secret in secrets):
        return status
    return Status(status.word, status.code)
