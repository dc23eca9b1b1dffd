"""A store with something of everything, written the way the product writes it."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import SecretStr
from sqlmodel import Session

from activities.mail.parse import parse
from activities.ports import ComposedMail, FetchedMail
from activities.store import inbox, ledger, mailboxes, outbox
from activities.store.accounts import Secrets
from activities.store.assembly import Store
from activities.store.content import ATTACHMENT, Piece
from activities.store.ledger import Verdict
from models.account import AccountSettings
from models.delivery import ComposeInput, Phase, RecipientState
from models.errors import ErrorType
from models.failure import Failure
from models.mailbox import Handling, RetrievalOptions
from models.message import EmailMessage
from models.tables import Retrieval

INLINE_BYTES = 400
"""Larger content lies in the blob store: the largest of the mails below."""

_NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
_SENT = Verdict(RecipientState.SENT, 250, "2.0.0", "ok")
_REFUSED = Verdict(RecipientState.FAILED, 550, "5.1.1", "no such user")
_LATER = Verdict(RecipientState.DEFERRED, 451, "4.7.1", "later")

_MAILS = (
    b"From: =?utf-8?q?J=C3=BCrgen?= <j@example.net>\r\nTo: shop@example.org\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@example.net>\r\n\r\nHello.\r\n",
    b"From: a@example.net\r\nTo: shop@example.org\r\nSubject: Files\r\n"
    b'Message-ID: <2@example.net>\r\nContent-Type: multipart/mixed; boundary="x"\r\n\r\n'
    b"--x\r\nContent-Type: text/html\r\n\r\n<p>See the <b>file</b>.</p>\r\n"
    b'--x\r\nContent-Type: application/pdf; name="invoice.pdf"\r\n'
    b"Content-Disposition: attachment\r\n\r\n" + b"0123456789 " * 60 + b"\r\n--x--\r\n",
    b"no header at all",
    b"From: b@example.net\r\nSubject: Third\r\n\r\nStored, not yet taken.\r\n",
)


def populate(store: Store) -> None:
    """Fill an empty store."""
    with store.database.write() as session:
        _accounts(session, store)
    _outgoing(store)
    _incoming(store)
    waiting = store.content.prepare([Piece("upload-1", ATTACHMENT, "text/plain", b"to be sent")])
    with store.database.write() as session:
        store.content.insert(session, waiting)


def _accounts(session: Session, store: Store) -> None:
    shop = AccountSettings.model_validate(
        {
            "name": "Shöp",
            "email_address": "shop@example.org",
            "full_name": "The Shop",
            "outgoing": {"host": "smtp.example.org", "username": "shop"},
            "incoming": {"host": "imap.example.org", "username": "shop"},
        }
    )
    relay = AccountSettings.model_validate(
        {
            "name": "relay",
            "email_address": "robot@example.org",
            "outgoing": {"host": "relay.example.org", "login": "none", "security": "none"},
        }
    )
    secrets = Secrets(SecretStr("sent with this"), SecretStr("read with this"))
    store.accounts.add(session, "account-shop", shop, secrets)
    store.accounts.add(session, "account-relay", relay, Secrets())


def _outgoing(store: Store) -> None:
    """One mail each: sent to one of two, of unknown outcome, to be tried again, just queued."""
    first, second = _mail(store, "sent"), _mail(store, "unknown")
    with store.database.write() as session:
        ticket = ledger.begin_attempt(session, first, "attempt-sent", "worker 1")
        if ticket is not None:
            ledger.intend_dot(session, ticket, [0])
            ledger.end_attempt(session, ticket, {0: _SENT, 1: _REFUSED}, Phase.DONE, None)
        ledger.close(session, first, None)
    with store.database.write() as session:
        ticket = ledger.begin_attempt(session, second, "attempt-unknown", "worker 1")
        if ticket is not None:
            ledger.intend_dot(session, ticket, [0, 1])
        ledger.take_over(session, second, "worker 2")
    third = _mail(store, "deferred")
    with store.database.write() as session:
        ticket = ledger.begin_attempt(session, third, "attempt-deferred", "worker 1")
        if ticket is not None:
            failure = Failure(
                type=ErrorType.SERVER_UNAVAILABLE, message="later", code=451, temporary=True
            )
            verdicts = {0: _LATER, 1: _LATER}
            ledger.end_attempt(session, ticket, verdicts, Phase.RCPT, failure)
    _mail(store, "queued", "key-of-the-caller")


def _mail(store: Store, name: str, key: str | None = None) -> str:
    message_id = f"message-{name}"
    message = EmailMessage.model_validate(
        {"to": "Ann <ann@example.net>", "bcc": "b@example.net", "subject": name, "content": "x"}
    )
    request = ComposeInput(
        message_id=message_id,
        driver=f"send/{name} run",
        date=_NOW,
        account="account-shop",
        message=message,
        idempotency_key=key,
    )
    mail = ComposedMail(
        raw=f"Subject: {name}\r\n\r\n".encode() + b"A line.\r\n" * 80,
        internet_message_id=f"<{name}@example.org>",
        envelope_from="shop@example.org",
        subject=name,
        sender="The Shop <shop@example.org>",
        to=("Ann <ann@example.net>",),
    )
    piece = Piece(f"{message_id}.mail", "mail", "message/rfc822", mail.raw, message_id)
    rows = store.content.prepare([piece])
    with store.database.write() as session:
        return outbox.insert(session, "account-shop", request, mail, rows, []).delivery_id


def _incoming(store: Store) -> None:
    """A folder with a settled batch, an unsettled one, and a hole."""
    arrivals = [
        inbox.arrival("account-shop", FetchedMail(uid, raw, _NOW))
        for uid, raw in zip((3, 4, 7, 8), _MAILS, strict=True)
    ]
    mails = [(item, parse(item.mail.raw)) for item in arrivals]
    rows = store.content.prepare(
        [piece for item, mail in mails for piece in inbox.pieces(item, mail, mail.html)]
    )
    with store.database.write() as session:
        folder = mailboxes.ensure_folder(session, "account-shop", "INBOX/Größe").id
        inbox.insert(session, "account-shop", mails, rows)
        inbox.place(session, folder, 9, [(a.mail.uid, a.message_id) for a in arrivals])
        mailboxes.hold_folder(session, folder, "retrieve/shop run")
        mailboxes.add_retrieval(
            session,
            retrieval_id="retrieval-1",
            folder_id=folder,
            consumer="default",
            owner="retrieve/shop run",
            uid_validity=9,
            options=RetrievalOptions(handling=Handling.MOVE, move_folder="Done"),
            uids=[(3, 4), (7, 8)],
            total=4,
        )
        plan = mailboxes.retrieval(session, "retrieval-1")
        _batch(session, plan, 0, [(a.mail.uid, a.message_id) for a in arrivals[:3]])
        mailboxes.acknowledge(session, "batch-0", "account-shop")
        mailboxes.mark_handled(session, plan, [3, 4])
        mailboxes.settle(session, plan, "batch-0", "account-shop")
        _batch(session, plan, 1, [(a.mail.uid, a.message_id) for a in arrivals[3:]])


def _batch(session: Session, plan: Retrieval, number: int, placed: list[tuple[int, str]]) -> None:
    mailboxes.add_batch(
        session,
        batch_id=f"batch-{number}",
        plan=plan,
        number=number,
        workflow_id=f"callback/{number}",
        items=[
            {"uid": uid, "position": n, "message_id": mail, "known": False, "skipped": False}
            for n, (uid, mail) in enumerate(placed)
        ],
    )
