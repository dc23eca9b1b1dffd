"""Mail as it came in, read into a ``ParsedMail``; no input makes the reader raise.

The reader works on the raw octets in linear time: headers (``headers``, ``encoded_words``,
``mailboxes``, ``dates``), the tree (``structure``), the choice of bodies (``bodies``) and their
text (``transfer``, ``charset``). What is damaged is read as far as it goes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Final

from activities.mail.bodies import Bodies, choose_bodies
from activities.mail.charset import decode
from activities.mail.dates import read_date
from activities.mail.encoded_words import decode_words
from activities.mail.headers import Headers, read_headers
from activities.mail.mailboxes import read_mailboxes
from activities.mail.structure import Part, read_structure
from activities.mail.transfer import split_uuencoded
from activities.ports import ParsedMail, ParsedPart
from models.message import AttachmentPosition

_log = logging.getLogger(__name__)

_MAX_REFERENCES: Final = 1000
_MAX_SUBJECT_IN_NAME: Final = 200
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_IDENTIFIER: Final = re.compile(r"<[^<>\s]{1,998}>")
_NOT_IN_NAME: Final = re.compile(r'[\\/:*?"<>|]+')
_EXTENSIONS: Final = {
    "text/plain": "txt",
    "text/html": "html",
    "text/calendar": "ics",
    "text/vcard": "vcf",
    "text/x-vcard": "vcf",
    "text/csv": "csv",
    "text/xml": "xml",
    "text/rtf": "rtf",
    "text/rfc822-headers": "txt",
    "message/delivery-status": "txt",
    "message/disposition-notification": "txt",
    "message/rfc822": "eml",
    "message/global": "eml",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/jpg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/bmp": "bmp",
    "image/tiff": "tif",
    "image/svg+xml": "svg",
    "application/pdf": "pdf",
    "application/zip": "zip",
    "application/json": "json",
    "application/xml": "xml",
    "application/rtf": "rtf",
    "application/msword": "doc",
    "application/ms-tnef": "dat",
    "application/pgp-signature": "asc",
    "application/pgp-encrypted": "asc",
    "application/pkcs7-signature": "p7s",
    "application/x-pkcs7-signature": "p7s",
    "application/pkcs7-mime": "p7m",
    "application/x-pkcs7-mime": "p7m",
}


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
    if not raw.strip():
        return ParsedMail(quarantined="empty")
    if b"\n" not in raw:
        # Line ends of an old Macintosh, or one line only.
        raw = raw.replace(b"\r", b"\n")
    root = read_structure(raw)
    headers = root.headers
    bodies = choose_bodies(root)
    text, found = _text(bodies)
    html = _joined([decode(part.content(), _charset(part)) for part in bodies.html])
    parts = [_attachment(part, number, html) for number, part in enumerate(bodies.attachments, 1)]
    parts.extend(found)
    return ParsedMail(
        message_id=_identifier(headers, "message-id"),
        in_reply_to=_identifier(headers, "in-reply-to"),
        references=_references(headers),
        subject=_line(headers, "subject"),
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
        content = part.content()
        if b"begin " in content:
            content, files = split_uuencoded(content)
            for name, data in files:
                found.append(
                    ParsedPart(
                        name=_clean(decode(name)) or f"part-{len(found) + 1}.bin",
                        content_type="application/octet-stream",
                        position=AttachmentPosition.NORMAL,
                        data=data,
                    )
                )
        texts.append(decode(content, _charset(part)))
    return _joined(texts), found


def _joined(texts: list[str]) -> str | None:
    if not texts:
        return None
    joined = "\n".join(texts)
    return joined.replace("\r\n", "\n") if "\r" in joined else joined


def _charset(part: Part) -> str | None:
    return part.content_type.parameters.get("charset")


def _attachment(part: Part, number: int, html: str | None) -> ParsedPart:
    content_id = part.content_id
    inline = part.disposition.value == "inline" or (
        content_id is not None
        and (part.disposition.value != "attachment" or f"cid:{content_id}" in (html or ""))
    )
    data = part.content()
    return ParsedPart(
        name=_name(part, data, number),
        content_type=part.type,
        position=AttachmentPosition.INLINE if inline else AttachmentPosition.NORMAL,
        data=data,
        content_id=content_id,
    )


def _name(part: Part, data: bytes, number: int) -> str:
    name = _clean(part.name)
    if name:
        return name
    if part.type in ("message/rfc822", "message/global"):
        subject = _line(read_headers(data, 0, len(data))[0], "subject")
        subject = _NOT_IN_NAME.sub("_", subject)[:_MAX_SUBJECT_IN_NAME].strip(" .")
        return f"{subject or 'message'}.eml"
    return f"part-{number}.{_EXTENSIONS.get(part.type, 'bin')}"


def _line(headers: Headers, name: str) -> str:
    values = headers.get(name)
    return _clean(decode_words(values[0])) if values else ""


def _clean(text: str) -> str:
    """One line of text without control characters."""
    return _CONTROL.sub(" ", text).strip() if not text.isprintable() else text.strip()


def _identifier(headers: Headers, name: str) -> str | None:
    values = headers.get(name)
    if not values:
        return None
    match = _IDENTIFIER.search(values[0])
    return match[0] if match else _clean(decode_words(values[0]))[:998] or None


def _references(headers: Headers) -> tuple[str, ...]:
    values = headers.get("references")
    return tuple(_IDENTIFIER.findall(" ".join(values))[:_MAX_REFERENCES]) if values else ()
