"""How long a command waits for its reply (RFC 5321 §4.5.3.2), never longer than the account says.

The reply to the final dot is another matter: giving up on it makes duplicates, so the caller alone
says how long that may take (§4.5.3.2.6).
"""

from __future__ import annotations

_SECONDS = {
    "(greeting)": 300.0,
    "MAIL": 300.0,
    "RCPT": 300.0,
    "DATA": 120.0,
    "(content)": 180.0,
}
_OTHERS = 300.0


def patience(verb: str, cap: float) -> float:
    """Return the seconds for the reply to ``verb``, or for one block of the content."""
    return min(cap, _SECONDS.get(verb, _OTHERS))
