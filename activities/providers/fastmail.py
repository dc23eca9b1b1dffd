"""Fastmail."""

from __future__ import annotations

from activities.providers.profile import Profile
from models.provider import ProviderName

FASTMAIL = Profile(
    ProviderName.FASTMAIL,
    hosts=("smtp.fastmail.com",),
    mailbox_hosts=("imap.fastmail.com",),
    # Whether copies are filed is not certain; the folder is searched before one is added.
)
