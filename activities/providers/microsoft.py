"""Microsoft 365 (Exchange Online) and Outlook.com."""

from __future__ import annotations

from activities.providers.profile import Profile
from models.provider import ProviderName

MICROSOFT365 = Profile(
    ProviderName.MICROSOFT365,
    hosts=("smtp.office365.com", "outlook.office365.com"),
    mailbox_hosts=("outlook.office365.com",),
    # Both file what is submitted into Sent Items (github.com/jstedfast/MailKit/issues/1193), but
    # may give it another Message-ID (github.com/nodemailer/nodemailer/issues/1325): a mail that is
    # not found there may have been sent all the same.
    files_sent=True,
    keeps_message_id=False,
    # learn.microsoft.com/exchange/troubleshoot/send-emails/smtp-submission-limits: three
    # connections at once, else "432 4.3.2 Concurrent connections limit exceeded"; 30 mails a
    # minute. Being busy is "451 4.7.500", which the default covers.
    connections_per_account=3,
    mails_per_minute=30,
)

OUTLOOK_COM = Profile(
    ProviderName.OUTLOOK_COM,
    hosts=("smtp-mail.outlook.com",),
    mailbox_hosts=("imap-mail.outlook.com", "outlook.office365.com"),
    files_sent=True,
    keeps_message_id=False,
    connections_per_account=3,
    mails_per_minute=30,
)
"""Consumers' mailboxes; the same servers behind another name."""
