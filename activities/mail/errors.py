"""What peers do wrong, as errors of the contract: by reply code and exception class, never by text.

``network_failure`` serves every protocol; the rest is SMTP's.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator

import aiosmtplib

from activities.ports import Endpoint, Reply, SmtpFailure
from models.delivery import Phase
from models.errors import ConnectorError, ErrorType, bounded

# --- Any protocol -------------------------------------------------------------------------------

_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})
_OLD_TLS = frozenset(
    {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE"}
)
_WEAK_CERTIFICATE = frozenset({"CA_MD_TOO_WEAK", "CA_KEY_TOO_SMALL", "EE_KEY_TOO_SMALL"})
_LOST = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, EOFError)
_CERTIFICATE_ADVICE = {  # X509_V_ERR_* of OpenSSL
    9: "It is not valid yet: check this machine's clock.",
    10: "It has expired: the server's administrator has to renew it.",
    18: "It is self-signed: add it to the trusted certificates (ca_file).",
    19: "Add the authority that issued it to the trusted certificates (ca_file).",
    20: "Add the authority that issued it to the trusted certificates (ca_file).",
    21: "The server must send its whole chain, or add the issuer to the trusted ones (ca_file).",
    62: "Use a host name that the certificate names.",
    64: "Use a host name that the certificate names, not an address.",
}


def server_name(endpoint: Endpoint) -> str:
    """Return host:port, an IPv6 address in brackets (RFC 3986 §3.2.2)."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{host}:{endpoint.port}"


def network_failure(exc: BaseException, endpoint: Endpoint, what: str) -> ConnectorError:
    """Translate what DNS, TCP, TLS or a deadline raised, also as the cause of a library's error.

    Args:
        exc: The exception; the causes behind it are looked at too.
        endpoint: The server it happened with.
        what: What we were doing, for the message: "connecting", "waiting for the reply to MAIL".
    """
    type_, message = _network(list(_causes(exc)))
    return ConnectorError(type_, f"{server_name(endpoint)}, {what}: {message}")


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__


def _network(causes: list[BaseException]) -> tuple[ErrorType, str]:
    for cause in causes:
        match cause:
            case ssl.SSLCertVerificationError():
                return ErrorType.CERTIFICATE_REJECTED, _certificate_message(cause)
            case ssl.SSLError():
                return _tls(cause)
            case socket.gaierror() | UnicodeError():  # UnicodeError: a label no DNS name can hold
                return (
                    ErrorType.HOST_NOT_FOUND,
                    "the host name cannot be resolved. Check it, and this machine's DNS.",
                )
            case TimeoutError():
                return (
                    ErrorType.CONNECTION_TIMED_OUT,
                    "no answer in time. Check host, port and firewall, or raise "
                    "connection_timeout_ms.",
                )
    root = causes[-1]
    if isinstance(root, OSError) and not isinstance(root, (*_LOST, aiosmtplib.SMTPException)):
        reason = os.strerror(root.errno) if root.errno else "no address answers"
        return (
            ErrorType.CONNECTION_FAILED,
            f"cannot connect ({reason}). Check host, port and firewall.",
        )
    return ErrorType.CONNECTION_LOST, "the connection was cut. Trying again may help."


def _certificate_message(exc: ssl.SSLCertVerificationError) -> str:
    advice = _CERTIFICATE_ADVICE.get(exc.verify_code, "The server needs another certificate.")
    return (
        f"the server's certificate is not accepted ({bounded(exc.verify_message, 200)}). {advice} "
        "(check_server_identity = false would encrypt without knowing to whom.)"
    )


def _tls(exc: ssl.SSLError) -> tuple[ErrorType, str]:
    # OpenSSL's symbol: stable across versions, unlike its text; absent when Python raised.
    reason = getattr(exc, "reason", None) or ""
    if reason in _WEAK_CERTIFICATE:
        return (
            ErrorType.CERTIFICATE_REJECTED,
            f"the server's certificate is too weak ({reason}). It needs a stronger one.",
        )
    if reason in _OLD_TLS:
        return (
            ErrorType.TLS_UNAVAILABLE,
            "the server offers only TLS versions older than 1.2. It must be brought up to date.",
        )
    if reason in _NOT_TLS:
        # Temporary: a busy server may say so in clear on its TLS port (Exim's daemon does).
        return (
            ErrorType.PROTOCOL_VIOLATION,
            "the server did not answer in TLS. Check that port and security belong together: 'tls' "
            "is for the ports that start with TLS (465, 993, 995), 'starttls' for the others.",
        )
    said = f" ({bounded(reason, 80)})" if reason else ""
    return ErrorType.CONNECTION_LOST, f"the TLS connection was cut{said}. Trying again may help."


# --- SMTP ---------------------------------------------------------------------------------------

_DOING = {
    Phase.CONNECT: "connecting",
    Phase.BANNER: "waiting for the greeting",
    Phase.EHLO: "waiting for the reply to EHLO",
    Phase.STARTTLS: "starting TLS",
    Phase.AUTH: "logging in",
    Phase.MAIL: "waiting for the reply to MAIL",
    Phase.RCPT: "waiting for the reply to RCPT",
    Phase.DATA: "waiting for the reply to DATA",
    Phase.BODY: "sending the content",
    Phase.DOT_INTENT: "before the final dot",
    Phase.DOT: "sending the final dot",
    Phase.REPLY: "waiting for the reply to the mail",
    Phase.DONE: "after the mail",
}
_LOGIN_REFUSED = frozenset({530, 534, 535, 538})  # RFC 4954 §6, RFC 3207 §4
_NOT_IMPLEMENTED = frozenset({500, 502, 503, 504})
_BASIC_AUTH_IS_OFF = "5.7.30"
_TOO_LARGE = frozenset({None, "5.3.4", "5.2.3"})  # a 552 may also mean 5.2.2, mailbox full
_ADVICE = {
    ErrorType.SERVER_UNAVAILABLE: "Try again later.",
    ErrorType.CREDENTIALS_REJECTED: "Check user name, password and login method; many providers "
    "want an app password or OAuth 2.0.",
    ErrorType.CAPABILITY_MISSING: "The server cannot do this; choose another login method.",
    ErrorType.TLS_UNAVAILABLE: "Use security 'tls' on the port for it (465), or ask the server's "
    "administrator; nothing was sent in clear.",
    ErrorType.SENDER_REFUSED: "Check that this account may send from that address.",
    ErrorType.MESSAGE_TOO_LARGE: "Send a smaller mail.",
    ErrorType.PROTOCOL_VIOLATION: "That is no answer SMTP knows here; check host and port.",
    ErrorType.SERVER_REFUSED: "It will be refused again unless something changes.",
}


def smtp_failure(exc: BaseException, endpoint: Endpoint, phase: Phase) -> SmtpFailure:
    """Translate an exception raised while talking SMTP in ``phase``."""
    if isinstance(exc, aiosmtplib.SMTPResponseException):
        return SmtpFailure(
            ErrorType.PROTOCOL_VIOLATION,
            f"{server_name(endpoint)}, {_DOING[phase]}: {_ADVICE[ErrorType.PROTOCOL_VIOLATION]}",
            phase=phase,
        )
    failure = network_failure(exc, endpoint, _DOING[phase])
    return SmtpFailure(failure.type, failure.message, phase=phase)


def reply_failure(endpoint: Endpoint, phase: Phase, reply: Reply) -> SmtpFailure:
    """Translate a reply that refuses (RFC 5321 §4.2.1; enhanced codes RFC 3463 make it finer)."""
    type_ = _reply_type(phase, reply)
    code = f"{reply.code} {reply.enhanced_code}" if reply.enhanced_code else str(reply.code)
    advice = _ADVICE[type_]
    if reply.enhanced_code == _BASIC_AUTH_IS_OFF:
        advice = "Basic authentication is switched off on this server; use OAuth 2.0."
    where = f"{server_name(endpoint)}, {_DOING[phase]}: {code}"
    return SmtpFailure(
        type_,
        f"{where} {reply.text} | {advice}",
        phase=phase,
        reply=reply,
        explanation=f"{where} | {advice}",
    )


def _reply_type(phase: Phase, reply: Reply) -> ErrorType:
    code, enhanced = reply.code, reply.enhanced_code
    if 400 <= code < 500:
        return ErrorType.SERVER_UNAVAILABLE
    if not 500 <= code < 600:
        return ErrorType.PROTOCOL_VIOLATION
    if code in _LOGIN_REFUSED or enhanced == _BASIC_AUTH_IS_OFF:
        return ErrorType.CREDENTIALS_REJECTED
    if enhanced == "5.3.4" or (code == 552 and enhanced in _TOO_LARGE):
        return ErrorType.MESSAGE_TOO_LARGE
    match phase:
        case Phase.STARTTLS:
            return ErrorType.TLS_UNAVAILABLE
        case Phase.AUTH if code in _NOT_IMPLEMENTED:
            return ErrorType.CAPABILITY_MISSING
        case Phase.AUTH if code == 550 or (enhanced or "").startswith("5.7."):
            return ErrorType.CREDENTIALS_REJECTED
        case Phase.MAIL:
            return ErrorType.SENDER_REFUSED
        case _:
            return ErrorType.SERVER_REFUSED
