"""What a provider does and allows, as data; adapters and steps ask, and know no provider's name."""

from __future__ import annotations

from dataclasses import dataclass

from models.provider import ProviderName


@dataclass(frozen=True, slots=True)
class Profile:
    """Facts about a provider. The defaults are those of a server nobody knows anything of.

    A wrong fact does harm: ``files_sent`` with ``keeps_message_id`` lets a mail that is absent from
    the Sent folder be sent again. What is not certain is left at its default.

    Attributes:
        name: What an account calls it in ``provider``.
        hosts: Hosts that mail is sent through; ``.example.com`` stands for every host below it.
        mailbox_hosts: The same for retrieving: hosts that show the Sent folder it files into.
        files_sent: Whether it puts a copy of each sent mail into the Sent folder by itself.
        keeps_message_id: Whether a mail keeps the Message-ID that it was submitted with.
        sent_visible_seconds: How long a sent mail may take until the Sent folder shows it.
        connections_per_account: SMTP connections at once for one account.
        connections_per_host: The same for all accounts together; None = no limit of the provider's.
        mails_per_connection: Mails after which a connection is closed.
        idle_seconds: How long an unused connection is kept.
        mails_per_minute: Mails an account may send; None = no limit known.
        idle_renewal_seconds: How long an IDLE may last until it is begun anew.
        slow_down: Enhanced codes (or their beginnings, up to a dot) that ask for patience.
    """

    name: ProviderName
    hosts: tuple[str, ...] = ()
    mailbox_hosts: tuple[str, ...] = ()
    files_sent: bool = False
    keeps_message_id: bool = True
    sent_visible_seconds: float = 60
    connections_per_account: int = 10
    connections_per_host: int | None = None
    mails_per_connection: int = 1000
    idle_seconds: float = 30
    mails_per_minute: int | None = None
    idle_renewal_seconds: float = 24 * 60  # RFC 2177: within 29 minutes
    slow_down: tuple[str, ...] = ("4.7.", "4.3.2", "4.4.5")


GENERIC = Profile(ProviderName.GENERIC)
