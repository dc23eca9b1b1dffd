"""Names of the mail providers that something is known of (docs/providers.md)."""

from __future__ import annotations

from enum import StrEnum


class ProviderName(StrEnum):
    """What an account calls its provider; ``generic`` is one that nothing is known of."""

    GENERIC = "generic"
    GMAIL = "gmail"
    MICROSOFT365 = "microsoft365"
    OUTLOOK_COM = "outlook_com"
    YAHOO = "yahoo"
    ICLOUD = "icloud"
    FASTMAIL = "fastmail"
    ZOHO = "zoho"
    GMX = "gmx"
