"""Yahoo Mail."""

from __future__ import annotations

from activities.providers.profile import Profile
from models.provider import ProviderName

YAHOO = Profile(
    ProviderName.YAHOO,
    hosts=("smtp.mail.yahoo.com",),
    mailbox_hosts=("imap.mail.yahoo.com",),
    # Whether copies are filed is not documented; the folder is searched before one is added.
)
