"""iCloud Mail."""

from __future__ import annotations

from activities.providers.profile import Profile
from models.provider import ProviderName

ICLOUD = Profile(
    ProviderName.ICLOUD,
    hosts=("smtp.mail.me.com",),
    mailbox_hosts=("imap.mail.me.com",),
    # Not certain, so as by default: github.com/kellylford/QuickMail/issues/150 saw the server put a
    # copy into "Sent Messages"; github.com/s-morgan-jeffries/apple-mail-fast-mcp/issues/406 and
    # github.com/floatpane/matcha/pull/496 saw none. The folder is searched before a copy is added.
)
