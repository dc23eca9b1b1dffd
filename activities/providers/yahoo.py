"""Yahoo Mail."""

from __future__ import annotations

from activities.providers.profile import Profile
from models.provider import ProviderName

YAHOO = Profile(
    ProviderName.YAHOO,
    hosts=("smtp.mail.yahoo.com",),
    mailbox_hosts=("imap.mail.yahoo.com",),
    # github.com/marlinjai/email-mcp/issues/6: connections that idle for long go silent.
    idle_renewal_seconds=180,
    # Whether copies are filed is not documented; the folder is searched before one is added.
)
