"""Header fields of a new mail beside addresses and subject: thread, list, origin, custom ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from activities.mail.compose_headers import header, phrase_words, text_words
from activities.ports import ThreadParent
from models.custom_headers import MAX_WORD_CHARS, FieldKind, custom_field
from models.errors import ConnectorError, ErrorType
from models.header_fields import MAX_REFERENCES, AutoSubmitted, ListUnsubscribe
from models.message import EmailMessage

# What other programs made is repeated as it is, if it fits a line and has no way out of it.
_IDENTIFIER = re.compile(r"<[!-;=?-~]{1,898}>")


@dataclass(frozen=True, slots=True)
class Thread:
    """Where a mail stands in a conversation (RFC 5322 §3.6.4)."""

    in_reply_to: str | None = None
    references: tuple[str, ...] = ()


def thread_of(message: EmailMessage, parent: ThreadParent | None) -> Thread:
    """Return the place of a mail in a conversation.

    Args:
        message: The mail.
        parent: The stored mail that it answers or forwards, if it names one.
    """
    if message.reply_of is None and message.forward_of is None:
        return _thread(message.in_reply_to, message.references, message.in_reply_to)
    if parent is None:
        raise ConnectorError(ErrorType.INTERNAL, "the mail that this one answers was not read")
    before = parent.references or [parent.in_reply_to or ""]
    known = [one for one in before if _IDENTIFIER.fullmatch(one)]
    own = parent.message_id or ""
    if not _IDENTIFIER.fullmatch(own):  # a mail without a name cannot be referred to
        return _thread(None, known, None)
    return _thread(own if message.reply_of is not None else None, known, own)


def _thread(in_reply_to: str | None, before: Sequence[str], last: str | None) -> Thread:
    """The parent's name comes last; of a long thread the first one and the newest stay."""
    references = [one for one in dict.fromkeys(before) if one != last]
    if last is not None:
        references.append(last)
    if len(references) > MAX_REFERENCES:
        references = [references[0], *references[1 - MAX_REFERENCES :]]
    return Thread(in_reply_to, tuple(references))


def thread_fields(thread: Thread) -> list[bytes]:
    """Return In-Reply-To and References."""
    fields = []
    if thread.in_reply_to is not None:
        fields.append(header("In-Reply-To", [thread.in_reply_to]))
    if thread.references:
        fields.append(header("References", thread.references))
    return fields


def list_fields(ways: ListUnsubscribe) -> list[bytes]:
    """Return List-Unsubscribe, and List-Unsubscribe-Post when one POST is enough (RFC 8058 §3)."""
    urls = [f"<{url}>" for url in (ways.url, ways.mailto) if url is not None]
    words = [*(f"{url}," for url in urls[:-1]), urls[-1]]
    fields = [header("List-Unsubscribe", words)]
    if ways.one_click:
        fields.append(header("List-Unsubscribe-Post", ["List-Unsubscribe=One-Click"]))
    return fields


def origin_field(origin: AutoSubmitted) -> bytes:
    """Return Auto-Submitted (RFC 3834 §5)."""
    return header("Auto-Submitted", [origin.value])


def custom_fields(headers: Mapping[str, str]) -> list[bytes]:
    """Return the fields that a caller added, in the caller's order."""
    return [header(name, _words(name, value), fold_first=True) for name, value in headers.items()]


def _words(name: str, value: str) -> list[str]:
    match custom_field(name).kind:
        case FieldKind.TEXT:
            return text_words(value, longest=MAX_WORD_CHARS)
        case FieldKind.PHRASES:
            words: list[str] = []
            for phrase in filter(None, (part.strip() for part in value.split(","))):
                if words:
                    words[-1] += ","
                words += phrase_words(phrase)
            if not words:
                raise ValueError("the value is empty")
            return words
        case FieldKind.TOKEN:
            return value.split(" ")
