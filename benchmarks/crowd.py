"""A mailbox of very many mails, all of them done with: what does it cost to find nothing new?"""

from __future__ import annotations

import contextlib

from imapclient import IMAPClient

from activities.store import mailboxes
from activities.store.assembly import open_store
from benchmarks import receiving
from benchmarks.product import Product
from models.tables import Cursor
from tools.servers.dovecot import Dovecot

USER = "crowd"
_LINKS = 50_000
"""Names of one file; a file system allows some more."""
_MAIL = b"From: shop@example.org\r\nSubject: One of many\r\n\r\nHello.\r\n"


def fill(dovecot: Dovecot, mails: int) -> None:
    """Put ``mails`` mails into its inbox, a few files under many names; Dovecot makes its index."""
    new = dovecot.maildir(USER) / "new"
    for number in range(mails):
        if number % _LINKS == 0:
            file = new / dovecot.deliver(USER, _MAIL)
        else:
            (new / f"{number}.crowd").hardlink_to(file)
    _look(dovecot)


async def nothing_new(product: Product, dovecot: Dovecot, account_id: str) -> float:
    """Seconds of a run over it.

    Raises:
        RuntimeError: It gave mails.
    """
    _done_with(product, _look(dovecot), account_id)
    count, seconds = await receiving.replicate(product, account_id, "default")
    if count:
        raise RuntimeError(f"{count} mails came that were done with")
    return seconds


def _look(dovecot: Dovecot) -> tuple[int, int]:
    """Its UIDVALIDITY and UIDNEXT."""
    with IMAPClient("127.0.0.1", dovecot.imap_port, ssl=False) as client:
        client.login(USER, dovecot.password)
        found = client.select_folder("INBOX", readonly=True)
    return found[b"UIDVALIDITY"], found[b"UIDNEXT"]


def _done_with(product: Product, state: tuple[int, int], account_id: str) -> None:
    """Write that all of it was retrieved, which would take minutes."""
    validity, following = state
    with (
        contextlib.closing(open_store(product.settings)) as store,
        store.database.write() as session,
    ):
        folder = mailboxes.ensure_folder(session, account_id, "INBOX")
        cursor = Cursor(
            folder_id=folder.id,
            consumer="default",
            uid_validity=validity,
            uid_next=following,
            holes=[],
        )
        session.merge(cursor)
