"""What nearly always follows from the rest of an account's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.account import IncomingProtocol, LoginMethod, Security

_SMTP_PORTS = {Security.NONE: 25, Security.STARTTLS: 587, Security.TLS: 465}


def with_usual_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return settings made from flags with login names, ports and protocol filled in."""
    filled = dict(values)
    address = values.get("email_address")
    for side in ("outgoing", "incoming"):
        if side in values:
            server = filled[side] = dict(values[side])
            if address and server.get("login") is not LoginMethod.NONE:
                server.setdefault("username", address)
    if "outgoing" in filled:
        security = filled["outgoing"].get("security", Security.STARTTLS)
        filled["outgoing"].setdefault("port", _SMTP_PORTS[security])
    if "incoming" in filled:
        server = filled["incoming"]
        tls = server.get("security", Security.TLS) is Security.TLS
        server.setdefault("protocol", IncomingProtocol.IMAPS if tls else IncomingProtocol.IMAP)
        server.setdefault("port", _usual_port(server["protocol"], tls=tls))
    return filled


def with_following_port(changes: Mapping[str, object], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return changes, by path, of an account's settings, in which the incoming port goes along.

    With another protocol or security, a port that was the usual one becomes the new usual one,
    unless one is given.
    """
    followed = dict(changes)
    before = base.get("incoming")
    if not before or "incoming" in changes or "incoming.port" in changes:
        return followed
    after = {
        name: changes.get(f"incoming.{name}", before[name]) for name in ("protocol", "security")
    }
    old, new = _usual(before), _usual(after)
    if before["port"] == old != new:
        followed["incoming.port"] = new
    return followed


def _usual(server: Mapping[str, Any]) -> int:
    tls = server["security"] is Security.TLS
    return _usual_port(IncomingProtocol(server["protocol"]), tls=tls)


def _usual_port(protocol: IncomingProtocol, *, tls: bool) -> int:
    if protocol.has_folders:
        return 993 if tls else 143
    return 995 if tls else 110
