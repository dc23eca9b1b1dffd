"""Zoho Mail, in all its regions."""

from __future__ import annotations

from activities.providers.profile import Profile
from models.provider import ProviderName

ZOHO = Profile(
    ProviderName.ZOHO,
    hosts=(
        "smtp.zoho.com",
        "smtppro.zoho.com",
        "smtp.zoho.eu",
        "smtppro.zoho.eu",
        "smtp.zoho.in",
        "smtppro.zoho.in",
        "smtp.zoho.com.au",
        "smtppro.zoho.com.au",
        "smtp.zoho.jp",
        "smtppro.zoho.jp",
    ),
    # Whether copies are filed is a setting of each mailbox, which we cannot see.
)
