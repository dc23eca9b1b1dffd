"""All providers that are known. A new one is one file, one line here and a ``ProviderName``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from activities.providers.fastmail import FASTMAIL
from activities.providers.gmail import GMAIL
from activities.providers.gmx import GMX
from activities.providers.icloud import ICLOUD
from activities.providers.microsoft import MICROSOFT365, OUTLOOK_COM
from activities.providers.profile import GENERIC, Profile
from activities.providers.yahoo import YAHOO
from activities.providers.zoho import ZOHO
from models.account import AccountSettings, SentCopyRule
from models.provider import ProviderName

PROFILES: Final[tuple[Profile, ...]] = (
    GENERIC,
    GMAIL,
    MICROSOFT365,
    OUTLOOK_COM,
    YAHOO,
    ICLOUD,
    FASTMAIL,
    ZOHO,
    GMX,
)


class Providers:
    """Finds the profile of an account: the one it names, else that of its outgoing server.

    Args:
        changed: Profiles that stand in for the known ones of their names.
    """

    def __init__(self, changed: Iterable[Profile] = ()) -> None:
        self._profiles = {p.name: p for p in (*PROFILES, *changed)}

    def of(self, account: AccountSettings) -> Profile:
        """Return the account's profile."""
        host = account.outgoing.host if account.outgoing else ""
        return self.at(host, account.provider)

    def at(self, host: str, provider: ProviderName | None = None) -> Profile:
        """Return the profile of ``provider``, else of whoever runs ``host``, else a generic one."""
        if provider is not None:
            return self._profiles[provider]
        for profile in self._profiles.values():
            if _among(host, profile.hosts):
                return profile
        return self._profiles[ProviderName.GENERIC]

    def retrieving(self, host: str, provider: ProviderName | None = None) -> Profile:
        """Return the profile of ``provider``, else of whoever keeps mailboxes on ``host``."""
        if provider is not None:
            return self._profiles[provider]
        for profile in self._profiles.values():
            if _among(host, profile.mailbox_hosts):
                return profile
        return self._profiles[ProviderName.GENERIC]

    def keeps_mailbox_of(self, account: AccountSettings) -> bool:
        """Whether the account retrieves from the mailbox that its provider files sent mail into.

        Somebody may send through one provider and retrieve from another, or as another user.
        """
        sending, retrieving = account.outgoing, account.incoming
        if sending is None or retrieving is None:
            return False
        if len({s.username.lower() for s in (sending, retrieving) if s.username}) > 1:
            return False
        named = account.provider is not None
        return named or _among(retrieving.host, self.of(account).mailbox_hosts)

    def copy_is_ours(self, account: AccountSettings) -> bool:
        """Whether we put a copy of what the account sends into its Sent folder."""
        incoming = account.incoming
        if incoming is None or not incoming.protocol.has_folders:
            return False
        if account.sent_copy is SentCopyRule.AUTO:
            return not self.of(account).files_sent
        return account.sent_copy is SentCopyRule.ALWAYS


def _among(host: str, hosts: Iterable[str]) -> bool:
    name = host.lower().rstrip(".")
    return any(name.endswith(h) if h.startswith(".") else name == h for h in hosts)


KNOWN: Final = Providers()


def profile_of(host: str, provider: ProviderName | None = None) -> Profile:
    """Return what is known of ``provider``, else of whoever runs ``host``."""
    return KNOWN.at(host, provider)
