"""LIST and UIDL (RFC 1939 §5, §7): which mails a maildrop holds."""

from __future__ import annotations

import re
from typing import Final

from activities.mail.pop3_reply import refusal
from activities.mail.pop3_wire import Pop3Wire
from models.errors import ErrorType

_UIDL: Final = re.compile(rb"(\d{1,10})[ \t]+([\x21-\x7e]{1,255})[ \t]*")
"""RFC 1939 §7 allows 70 octets; more are harmless."""
_SIZE: Final = re.compile(rb"(\d{1,10})[ \t]+(\d{1,19})(?:[ \t].*)?", re.DOTALL)


def uidls(wire: Pop3Wire) -> dict[int, str]:
    """Message numbers, good for this session, and the UIDL of each, in the server's order.

    Raises:
        ConnectorError: ``CapabilityMissing`` when the server knows no UIDLs.
    """
    found: dict[int, str] = {}
    for line in _listing(wire, "UIDL", ErrorType.CAPABILITY_MISSING):
        match = _UIDL.fullmatch(line)
        if match is None or int(match[1]) in found:
            raise wire.violation("UIDL gives no number and name, or a number twice")
        found[int(match[1])] = match[2].decode("ascii")
    return dict(sorted(found.items()))


def sizes(wire: Pop3Wire) -> dict[int, int]:
    """Message numbers and octets, as the server announces them; some only guess."""
    found: dict[int, int] = {}
    for line in _listing(wire, "LIST", ErrorType.SERVER_UNAVAILABLE):
        match = _SIZE.fullmatch(line)
        if match is None:
            raise wire.violation("LIST gives no number and size")
        found[int(match[1])] = int(match[2])
    return found


def _listing(wire: Pop3Wire, verb: str, otherwise: ErrorType) -> list[bytes]:
    with wire.step(verb):
        wire.command(verb)
        reply = wire.reply()
        if not reply.ok:
            raise refusal(wire.endpoint, f"listing the mails ({verb})", reply, otherwise)
        return wire.listing()
