"""Which stored mail a new one answers or forwards."""

from __future__ import annotations

from sqlmodel import Session, select

from activities.ports import ThreadParent
from models.errors import ConnectorError, ErrorType
from models.message import EmailMessage
from models.tables import Message


def parent_of(session: Session, message: EmailMessage) -> ThreadParent | None:
    """The mail that ``message`` names; None when it names none.

    Raises:
        ConnectorError: ``MessageNotFound`` with the field that names a mail nobody knows.
    """
    for field in ("reply_of", "forward_of"):
        if (message_id := getattr(message, field)) is not None:
            break
    else:
        return None
    row = session.exec(
        select(Message.internet_message_id, Message.in_reply_to, Message.references).where(
            Message.id == message_id
        )
    ).one_or_none()
    if row is None:
        raise ConnectorError(
            ErrorType.MESSAGE_NOT_FOUND, "there is no mail with this id", field=f"message.{field}"
        )
    return ThreadParent(row[0], row[1], tuple(row[2] or ()))
