"""Logging in to an SMTP server (RFC 4954). A further mechanism is one function and one line."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable, Sequence

import aiosmtplib

from activities.mail.errors import reply_failure, server_name
from activities.mail.smtp_wire import SmtpWire
from activities.ports import Endpoint, Reply, SmtpFailure
from models.account import LoginMethod, Security
from models.delivery import Phase
from models.errors import ErrorType

_CHALLENGE = 334
_NOT_THIS_ONE = frozenset({500, 502, 504})  # announced, yet not implemented


async def log_in(wire: SmtpWire, endpoint: Endpoint, announced: Sequence[str]) -> None:
    """Log in with the best mechanism of ``announced``, or not at all if so configured.

    Another mechanism is tried only when the server does not implement the first one: each refused
    password counts towards the lock of an account.

    Raises:
        SmtpFailure: The server refused, or there is no way to log in.
    """
    if endpoint.login is LoginMethod.NONE:
        return
    if endpoint.security is not Security.NONE and not wire.over_tls:
        raise _failure(
            endpoint, ErrorType.TLS_UNAVAILABLE, "no password is sent without TLS. Nothing was."
        )
    user, password = _credentials(endpoint)
    wire.conceal([password.decode(), _b64(password).decode(), _plain(user, password).decode()])
    # Without TLS, what does not reveal the password comes first; within it, what servers do best.
    order = ("PLAIN", "LOGIN", "CRAM-MD5") if wire.over_tls else ("CRAM-MD5", "PLAIN", "LOGIN")
    reply: Reply | None = None
    for name in order:
        if name in announced:
            reply = await _MECHANISMS[name](wire, user, password)
            if reply.code == 235:
                return
            if reply.code not in _NOT_THIS_ONE:
                break
    if reply is not None:
        raise reply_failure(endpoint, Phase.AUTH, reply)
    offered = ", ".join(announced)[:200] or "none"
    raise _failure(
        endpoint,
        ErrorType.CAPABILITY_MISSING,
        f"the server takes no password login here (it offers: {offered}). Use another port, "
        "security or login method.",
    )


def _credentials(endpoint: Endpoint) -> tuple[bytes, bytes]:
    if endpoint.login is not LoginMethod.BASIC:
        raise _failure(
            endpoint,
            ErrorType.CAPABILITY_MISSING,
            f"login '{endpoint.login}' is not supported for SMTP. Use 'basic' or 'none'.",
        )
    password = endpoint.password.get_secret_value() if endpoint.password else ""
    if not endpoint.username or not password:
        raise _failure(
            endpoint, ErrorType.ACCOUNT_INCOMPLETE, "login 'basic' needs user name and password."
        )
    return endpoint.username.encode(), password.encode()


async def _auth_plain(wire: SmtpWire, user: bytes, password: bytes) -> Reply:
    """RFC 4616."""
    answer = _plain(user, password)
    reply = await wire.command(b"AUTH", b"PLAIN", answer)
    if reply.code == _CHALLENGE:  # a server that ignores the initial response asks for it
        reply = await wire.command(answer)
    return reply


async def _auth_login(wire: SmtpWire, user: bytes, password: bytes) -> Reply:
    """draft-murchison-sasl-login: user name, then password, whatever the prompts say."""
    reply = await wire.command(b"AUTH", b"LOGIN")
    for answer in (user, password):
        if reply.code != _CHALLENGE:
            break
        reply = await wire.command(_b64(answer))
    return reply


async def _auth_cram_md5(wire: SmtpWire, user: bytes, password: bytes) -> Reply:
    """RFC 2195."""
    reply = await wire.command(b"AUTH", b"CRAM-MD5")
    if reply.code != _CHALLENGE:
        return reply
    try:
        challenge = base64.b64decode(reply.text, validate=True)
    except binascii.Error:
        raise aiosmtplib.SMTPResponseException(reply.code, "no CRAM-MD5 challenge") from None
    digest = hmac.new(password, challenge, "md5").hexdigest().encode()
    return await wire.command(_b64(user + b" " + digest))


_MECHANISMS: dict[str, Callable[[SmtpWire, bytes, bytes], Awaitable[Reply]]] = {
    "PLAIN": _auth_plain,
    "LOGIN": _auth_login,
    "CRAM-MD5": _auth_cram_md5,
}


def _b64(value: bytes) -> bytes:
    return base64.b64encode(value)


def _plain(user: bytes, password: bytes) -> bytes:
    return _b64(b"\0" + user + b"\0" + password)


def _failure(endpoint: Endpoint, type_: ErrorType, message: str) -> SmtpFailure:
    return SmtpFailure(type_, f"{server_name(endpoint)}: {message}", phase=Phase.AUTH)
