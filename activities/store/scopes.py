"""What limits and pauses are about: an account, or a host."""

from __future__ import annotations

WANTED = "wanted/"
"""Before a scope: the wishes for a connection within it."""


def account_scope(account_id: str) -> str:
    """Scope of an account."""
    return f"account/{account_id}"


def back_off_scope(account_id: str) -> str:
    """Scope of the queue's own pauses: a mail that somebody waits for is tried all the same."""
    return f"queue/{account_id}"


def host_scope(host: str) -> str:
    """Scope of a host, whatever its port and however it is written (RFC 4343)."""
    return f"host/{host.lower().rstrip('.')}"
