"""All providers that are known. A new one is one file and one line here."""

from __future__ import annotations

from activities.providers.profile import GENERIC, Profile

PROFILES: tuple[Profile, ...] = (GENERIC,)


def profile_of(host: str) -> Profile:
    """Return the profile of the provider that runs ``host``; the generic one when none is known."""
    name = host.lower().rstrip(".")
    for profile in PROFILES:
        if any(name.endswith(h) if h.startswith(".") else name == h for h in profile.hosts):
            return profile
    return GENERIC
