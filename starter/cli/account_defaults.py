"""What nearly always follows from the rest of an account's settings."""

from __future__ import annotations

from typing import Any

from models.account import IncomingProtocol, LoginMethod, Security

_SMTP_PORTS = {Security.NONE: 25, Security.STARTTLS: 587, Security.TLS: 465}
_POP3 = (IncomingProtocol.POP3, IncomingProtocol.POP3S)


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
        pop3 = server["protocol"] in _POP3
        server.setdefault("port", (995 if tls else 110) if pop3 else (993 if tls else 143))
    return filled
