"""Stored mails as they are read back: summaries for callbacks, envelopes, content."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic_core import to_json
from sqlmodel import Session, col, select

from activities.store.content import ContentStore
from models.errors import ConnectorError, ErrorType
from models.mailbox import MessageSummary
from models.tables import ContentRow, Message, PartRow, Rendition

_BATCH_BYTES = 60_000
"""Budget of a batch as JSON: with encryption and envelope it stays below 64 KB."""
_FIXED_BYTES = 250
"""What a summary takes without its texts."""
_MAX_TO = 50
_PART_NUMBER = re.compile(r"0|[1-9][0-9]{0,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A mail with the rows that describe its content."""

    message: Message
    content: dict[str, ContentRow]
    parts: Sequence[PartRow]


def get(session: Session, message_id: str) -> StoredMessage:
    """A stored mail by id; raises ``MessageNotFound``."""
    message = session.exec(select(Message).where(Message.id == message_id)).one_or_none()
    if message is None:
        raise ConnectorError(
            ErrorType.MESSAGE_NOT_FOUND, "there is no mail with this id", field="message_id"
        )
    rows = session.exec(select(ContentRow).where(ContentRow.message_id == message_id)).all()
    parts = session.exec(
        select(PartRow).where(PartRow.message_id == message_id).order_by(col(PartRow.number))
    ).all()
    return StoredMessage(message, {row.kind: row for row in rows}, parts)


def recent(
    session: Session, *, account_id: str | None = None, limit: int = 50
) -> Sequence[Message]:
    """The newest mails in the store."""
    query = select(Message).order_by(col(Message.created_at).desc(), col(Message.id)).limit(limit)
    if account_id is not None:
        query = query.where(Message.account_id == account_id)
    return session.exec(query).all()


def raw(session: Session, content: ContentStore, message_id: str) -> bytes:
    """The exact bytes of a mail, as received or as sent."""
    return content.read(session, raw_key(session, message_id))[1]


def raw_key(session: Session, message_id: str) -> str:
    """Key of the exact bytes of a mail; raises ``MessageNotFound``."""
    key = session.exec(
        select(ContentRow.key).where(ContentRow.message_id == message_id, ContentRow.kind == "raw")
    ).first()
    key = (
        key
        or session.exec(
            select(Rendition.content_key).where(
                Rendition.message_id == message_id, Rendition.kind == "mail"
            )
        ).first()
    )
    if key is None:
        raise ConnectorError(
            ErrorType.MESSAGE_NOT_FOUND, "there is no mail with this id", field="message_id"
        )
    return key


def summaries(session: Session, placed: Sequence[tuple[int, str]]) -> list[MessageSummary]:
    """Summaries of mails given as (UID, message id), in that order, within the payload budget."""
    if not placed:
        return []
    rows = {
        m.id: m
        for m in session.exec(
            select(Message).where(col(Message.id).in_([message_id for _, message_id in placed]))
        )
    }
    budget = _BATCH_BYTES // len(placed) - _FIXED_BYTES
    return [_summary(uid, rows[message_id], budget) for uid, message_id in placed]


def _summary(uid: int, message: Message, budget: int) -> MessageSummary:
    room = _Room(budget)
    sender = room.take(message.sender, 320)
    subject = room.take(message.subject, 1000)
    to = [kept for address in message.to[:_MAX_TO] if (kept := room.take(address, 320))]
    return MessageSummary(
        id=message.id,
        uid=uid,
        subject=subject,
        sender=sender,
        to=to,
        date=message.date,
        size=message.size,
        attachments=message.attachments,
        quarantined=message.quarantined is not None,
        truncated=room.cut or len(message.to) > _MAX_TO,
    )


class _Room:
    """Hands out a budget of bytes, as JSON writes them."""

    def __init__(self, budget: int) -> None:
        self._left = budget
        self.cut = False

    def take(self, text: str, most: int) -> str:
        kept = text[:most]
        while kept and _json_size(kept) > self._left:
            kept = kept[: len(kept) // 2]
        self._left -= _json_size(kept)
        self.cut |= kept != text
        return kept


def _json_size(text: str) -> int:
    return len(to_json(text))


def part_key(part: PartRow) -> str:
    """Key of an attachment's bytes, which lie within the raw mail."""
    return f"{part.message_id}.part.{part.number}"


def pictured_key(message_id: str) -> str:
    """Key of a mail's html with its pictures from the web, which is made when it is asked for."""
    return f"{message_id}.html.pictures"


def pictured_of_key(key: str) -> str | None:
    """Inverse of ``pictured_key``: id of the mail; None for other keys."""
    message_id = key.removesuffix(".html.pictures")
    return message_id if message_id != key else None


def part_of_key(key: str) -> tuple[str, int] | None:
    """Inverse of ``part_key``: id of the mail and number of the part; None for other keys."""
    message_id, marker, number = key.rpartition(".part.")
    return (message_id, int(number)) if marker and _PART_NUMBER.fullmatch(number) else None
