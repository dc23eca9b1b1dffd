"""Incoming mails as they enter the store.

All ids are derived from what the mail is, so that a repeated or a concurrent step writes the same
rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session, col, select

from activities.ports import FetchedMail, ParsedMail
from activities.store.content import Piece, tally_content
from activities.store.insertion import insert_missing
from activities.store.tallies import tally
from models.delivery import MessageStatus
from models.ids import derived_id
from models.metrics import MAIL_AGE, REPLICATED_BYTES, REPLICATED_MAILS
from models.names import Direction
from models.tables import ContentRow, Location, Message, PartRow


@dataclass(frozen=True, slots=True)
class Arrival:
    """A fetched mail with its identity."""

    mail: FetchedMail
    message_id: str
    sha256: str


def arrival(account_id: str, mail: FetchedMail) -> Arrival:
    """Identify a mail by the hash of its raw bytes within its account."""
    digest = hashlib.sha256(mail.raw).hexdigest()
    return Arrival(mail, derived_id("incoming", account_id, digest), digest)


def located(
    session: Session, folder_id: str, uid_validity: int, uids: Sequence[int]
) -> dict[int, str]:
    """Mails already stored, by UID."""
    rows = session.exec(
        select(Location.uid, Location.message_id).where(
            Location.folder_id == folder_id,
            Location.uid_validity == uid_validity,
            col(Location.uid).in_(list(uids)),
        )
    )
    return dict(rows.all())


def stored(session: Session, message_ids: Sequence[str]) -> set[str]:
    """Which of these mails are in the store."""
    return set(session.exec(select(Message.id).where(col(Message.id).in_(list(message_ids)))))


def pieces(
    item: Arrival, mail: ParsedMail, clean_html: str | None, *, keep_source: bool = False
) -> list[Piece]:
    """Content of a new mail: raw always, text and sanitised html where there are any.

    ``keep_source``: the html as it came, too. There are no links to it.
    """
    found = [
        Piece(f"{item.message_id}.raw", "raw", "message/rfc822", item.mail.raw, item.message_id)
    ]
    source = mail.html if keep_source else None
    for kind, text in (("text", mail.text), ("html", clean_html), ("html_source", source)):
        if text is not None:
            media_type = "text/plain" if kind == "text" else "text/html"
            data = text.encode("utf-8", "replace")
            found.append(
                Piece(f"{item.message_id}.{kind}", kind, media_type, data, item.message_id)
            )
    return found


def insert(
    session: Session,
    account_id: str,
    mails: Sequence[tuple[Arrival, ParsedMail]],
    content: Sequence[dict[str, Any]],
) -> None:
    """Insert new mails with their content and parts, prepared by ``ContentStore.prepare``."""
    now = datetime.now(UTC)
    # A mail that another step has just stored is not counted a second time.
    known = stored(session, [a.message_id for a, _ in mails])
    new = [a for a, _ in mails if a.message_id not in known]
    insert_missing(session, Message, [_row(account_id, a, m, now) for a, m in mails])
    insert_missing(session, ContentRow, content)
    insert_missing(session, PartRow, [row for a, m in mails for row in _parts(a.message_id, m)])
    tally(session, REPLICATED_MAILS, len(new))
    tally(session, REPLICATED_BYTES, sum(len(a.mail.raw) for a in new))
    tally_content(session, [row for row in content if row["message_id"] not in known])
    for item in new:
        if arrived := item.mail.internal_date:
            tally(session, MAIL_AGE, max(0.0, (now - arrived).total_seconds()))


def place(
    session: Session, folder_id: str, uid_validity: int, where: Sequence[tuple[int, str]]
) -> None:
    """Record where mails lie, as (UID, message id)."""
    insert_missing(
        session,
        Location,
        [
            {
                "folder_id": folder_id,
                "uid_validity": uid_validity,
                "uid": uid,
                "message_id": message_id,
                "handled_at": None,
            }
            for uid, message_id in where
        ],
    )


def _row(account_id: str, item: Arrival, mail: ParsedMail, now: datetime) -> dict[str, Any]:
    return {
        "id": item.message_id,
        "account_id": account_id,
        "direction": Direction.INCOMING,
        "identity": item.sha256,
        "request_hash": None,
        "status": MessageStatus.RECEIVED,
        "internet_message_id": _cut(mail.message_id, 998),
        "in_reply_to": _cut(mail.in_reply_to, 998),
        "references": [_storable(r)[:998] for r in mail.references[:1000]],
        "subject": _storable(mail.subject)[:2000],
        "sender": _mailboxes(mail.from_)[0][:1000] if mail.from_ else "",
        "to": _mailboxes(mail.to),
        "cc": _mailboxes(mail.cc),
        "reply_to": _mailboxes(mail.reply_to),
        "date": _plausible(mail.date) or _plausible(item.mail.internal_date),
        "size": len(item.mail.raw),
        "attachments": len(mail.parts),
        "quarantined": _cut(mail.quarantined, 500),
        "created_at": now,
        "sent_at": None,
    }


def _parts(message_id: str, mail: ParsedMail) -> list[dict[str, Any]]:
    return [
        {
            "message_id": message_id,
            "number": number,
            "name": _storable(part.name)[:4000],
            "media_type": _storable(part.content_type)[:4000],
            "position": part.position,
            "content_id": _cut(part.content_id, 998),
            "size": len(part.data),
        }
        for number, part in enumerate(mail.parts)
    ]


def _mailboxes(addresses: Sequence[tuple[str, str]]) -> list[str]:
    return [_storable(f"{name} <{address}>" if name else address) for name, address in addresses]


def _storable(text: str) -> str:
    # Neither database stores NUL in text, nor lone surrogates; both appear in hostile mail.
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _plausible(date: datetime | None) -> datetime | None:
    # A forged year 9999 cannot be told in every time zone, and sorts above everything for ever.
    return date if date is not None and 1970 <= date.year <= 2200 else None


def _cut(text: str | None, length: int) -> str | None:
    return None if text is None else _storable(text)[:length]
