"""Asking for delivery status notifications: what MAIL and RCPT say for it (RFC 3461 §4)."""

from __future__ import annotations

import re

from activities.ports import DsnRequest
from models.delivery_status import ReturnContent

_RET = {ReturnContent.FULL: b"FULL", ReturnContent.HEADERS: b"HDRS"}
_NOT_XTEXT = re.compile(rb"[^!-*,-<>-~]")
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")
_MAX_ENVELOPE_ID = 100  # RFC 3461 §4.4
_MAX_ORIGINAL = 500  # RFC 3461 §4.2


def xtext(text: bytes) -> bytes:
    """Return ``text`` as xtext: all but printable ASCII, ``+`` and ``=`` in hexadecimal."""
    return _NOT_XTEXT.sub(lambda found: b"+%02X" % found[0][0], text)


def utf8_address(address: str) -> bytes:
    r"""Return an address as utf-8-addr-xtext: ASCII, the rest as ``\x{HEX}`` (RFC 6533 §3)."""
    return _NOT_QCHAR.sub(lambda found: f"\\x{{{ord(found[0]):02X}}}", address).encode("ascii")


def mail_parameters(dsn: DsnRequest) -> list[bytes]:
    """Return RET and ENVID."""
    parameters = [b"RET=" + _RET[dsn.ret]] if dsn.ret is not None else []
    identifier = xtext(dsn.envelope_id.encode())
    if 0 < len(identifier) <= _MAX_ENVELOPE_ID:
        parameters.append(b"ENVID=" + identifier)
    return parameters


def rcpt_parameters(dsn: DsnRequest, path: bytes) -> list[bytes]:
    """Return NOTIFY and ORCPT for the recipient ``path`` (as between the angle brackets)."""
    parameters = []
    if dsn.notify:
        parameters.append(b"NOTIFY=" + ",".join(dsn.notify).upper().encode("ascii"))
    original = (
        b"rfc822;" + xtext(path) if path.isascii() else b"utf-8;" + utf8_address(path.decode())
    )
    if len(original) <= _MAX_ORIGINAL:
        parameters.append(b"ORCPT=" + original)
    return parameters
