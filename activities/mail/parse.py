"""Mail as it came in, read into a ``ParsedMail``; no input makes the reader raise.

The reader works on the raw octets, in linear time: the header (``headers``, ``envelope``,
``mailboxes``, ``dates``), the tree (``structure``), the choice of bodies (``bodies``), their octets
(``transfer``, where Rust does the bulk of the work) and their text (``charset``). What is damaged
is read as far as it goes.

Taking the whole result of fast-mail-parser for ordinary mail, and this reading only for the rest,
was tried and given up: the checks that tell the two kinds apart, and reading the result out, cost
nearly as much as reading the structure here, and there would be two understandings of one mail.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from activities.mail.bodies import (
    Bodies,
    choose_bodies,
    join_texts,
    position_of,
    shown_pictures,
)
from activities.mail.charset import decode
from activities.mail.dates import read_date
from activities.mail.envelope import clean_line, read_identifier, read_line, read_references
from activities.mail.headers import read_headers
from activities.mail.mailboxes import read_mailboxes
from activities.mail.part_names import name_of_message, name_of_part
from activities.mail.structure import Part, read_structure
from activities.mail.transfer import split_uuencoded
from activities.mail.winmail import is_wrapped, unwrap
from activities.ports import ParsedMail, ParsedPart
from models.message import AttachmentPosition

_log = logging.getLogger(__name__)

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_MESSAGES: Final = frozenset({"message/rfc822", "message/global"})


def parse_many(raws: Sequence[bytes]) -> list[ParsedMail]:
    """Read mails; the n-th result belongs to the n-th mail."""
    return [parse(raw) for raw in raws]


def parse(raw: bytes) -> ParsedMail:
    """Read one mail.

    Args:
        raw: The octets as the server holds them.

    Returns:
        Whatever could be read. ``quarantined`` names the reason where nothing could.
    """
    try:
        return _read(raw)
    except Exception as error:  # noqa: BLE001 - the promise: one mail never stops the others
        _log.warning("a mail of %d octets could not be read: %s", len(raw), type(error).__name__)
        return ParsedMail(quarantined=f"unreadable: {type(error).__name__}")


def _read(raw: bytes) -> ParsedMail:
    if b"\n" not in raw:
        # Line ends of an old Macintosh, one line only, or nothing at all.
        if not raw.strip():
            return ParsedMail(quarantined="empty")
        raw = raw.replace(b"\r", b"\n")
    root = read_structure(raw.removeprefix(_BYTE_ORDER_MARK))
    headers = root.headers
    bodies = choose_bodies(root)
    text, found = _text(bodies)
    html = join_texts([decode(part.content, part.charset) for part in bodies.html])
    shown = shown_pictures(html) if bodies.attachments else frozenset()
    parts = [_attachment(part, number, shown) for number, part in enumerate(bodies.attachments, 1)]
    parts += found
    if any(is_wrapped(part) for part in parts):
        text, html, parts = unwrap(text, html, parts)
    return ParsedMail(
        message_id=read_identifier(headers.get("message-id")),
        in_reply_to=read_identifier(headers.get("in-reply-to")),
        references=read_references(headers.get("references")),
        subject=read_line(headers.get("subject")),
        from_=read_mailboxes(headers.get("from")),
        to=read_mailboxes(headers.get("to")),
        cc=read_mailboxes(headers.get("cc")),
        reply_to=read_mailboxes(headers.get("reply-to")),
        date=read_date(headers["date"][0]) if "date" in headers else None,
        text=text,
        html=html,
        parts=tuple(parts),
    )


def _text(bodies: Bodies) -> tuple[str | None, list[ParsedPart]]:
    texts: list[str] = []
    found: list[ParsedPart] = []
    for part in bodies.text:
        content = part.content
        if b"begin " in content:
            content, files = split_uuencoded(content)
            found += [_uuencoded(name, data, number) for number, (name, data) in enumerate(files)]
        texts.append(decode(content, part.charset))
    return join_texts(texts), found


def _uuencoded(name: bytes, data: bytes, number: int) -> ParsedPart:
    return ParsedPart(
        name=clean_line(decode(name)) or f"file-{number + 1}.bin",
        content_type="application/octet-stream",
        position=AttachmentPosition.NORMAL,
        data=data,
    )


def _attachment(part: Part, number: int, shown: frozenset[str]) -> ParsedPart:
    return ParsedPart(
        name=_name(part, number),
        content_type=part.type,
        position=position_of(part.disposition.value, part.content_id, shown),
        data=part.content,
        content_id=part.content_id,
    )


def _name(part: Part, number: int) -> str:
    name = clean_line(part.name)
    if not name and part.type in _MESSAGES:
        headers, _ = read_headers(part.content, 0, len(part.content))
        return name_of_message(read_line(headers.get("subject")))
    return name or name_of_part(part.type, number)
