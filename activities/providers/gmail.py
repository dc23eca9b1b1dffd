"""Gmail and Google Workspace, submitted to smtp.gmail.com."""

from __future__ import annotations

from activities.providers.profile import Profile
from models.provider import ProviderName

GMAIL = Profile(
    ProviderName.GMAIL,
    # Not smtp-relay.gmail.com: a relay serves a domain and has no Sent folder to put a copy in.
    hosts=("smtp.gmail.com", "smtp.googlemail.com"),
    mailbox_hosts=("imap.gmail.com", "imap.googlemail.com"),
    # github.com/nodemailer/wildduck/wiki/Gmail-sending: what is submitted is put into Sent Mail,
    # unless a mail with its Message-ID is there, for which the id has to be kept.
    files_sent=True,
    keeps_message_id=True,
)
"""Slow-down codes: 4.7.0, 4.7.28 and 4.4.5 (support.google.com/a/answer/3726730), as by default."""
