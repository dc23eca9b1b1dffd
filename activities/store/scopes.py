"""What limits and pauses are about: an account, or a host."""

from __future__ import annotations


def account_scope(account_id: str) -> str:
    """Scope of an account."""
    return f"account/{account_id}"


def host_scope(host: str) -> str:
    """Scope of a host, whatever its port and however it is written (RFC 4343)."""
    return f"host/{host.lower().rstrip('.')}"
