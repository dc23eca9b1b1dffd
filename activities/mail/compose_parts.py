"""Body parts of a new mail, as bytes: text, files, multiparts.

No part is sent as 8bit or binary, so that every relay carries the mail as it is.
"""

from __future__ import annotations

import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Sequence

from activities.mail.compose_headers import clean_file_name, file_name_words, header
from models.message import Attachment, AttachmentPosition

Part = list[bytes]
"""A body part in pieces: header fields, an empty line, a body without a last line break."""

_SEVEN_BIT = re.compile(rb"(?:[\t -~]{0,78}\n)*[\t -~]{0,78}")
_ASCII = bytes(range(128))
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+\-]+/[A-Za-z0-9!#$&^_.+\-]+")
_BASE64_LINE = 76  # RFC 2045 §6.8


def text_part(subtype: str, text: str) -> Part:
    """Return ``text`` as ``text/subtype`` in UTF-8; each line break becomes CRLF."""
    content = text.replace("\r\n", "\n").replace("\r", "\n").encode()
    encoding, body = _encoded(content)
    return [
        header("Content-Type", [f"text/{subtype};", "charset=utf-8"]),
        header("Content-Transfer-Encoding", [encoding]),
        b"\r\n",
        body,
    ]


def _encoded(content: bytes) -> tuple[str, bytes]:
    # Our boundaries hold "=_", which neither encoding can produce; nor may seven-bit text.
    if _SEVEN_BIT.fullmatch(content) and b"=_" not in content:
        return "7bit", content.replace(b"\n", b"\r\n")
    foreign = len(content.translate(None, _ASCII))
    if foreign * 6 > len(content):
        return "base64", _base64(content.replace(b"\n", b"\r\n"))
    # With LF alone in it, b2a_qp breaks lines with LF alone, which one replacement then mends.
    return "quoted-printable", b2a_qp(content, istext=True).replace(b"\n", b"\r\n")


def file_part(attachment: Attachment, content: bytes, content_id: str | None = None) -> Part:
    """Return an attachment; a reader gets back the very same bytes."""
    disposition = "inline" if attachment.position is AttachmentPosition.INLINE else "attachment"
    fields = [
        header("Content-Type", [_content_type(attachment.content_type)]),
        header("Content-Transfer-Encoding", ["base64"]),
        header(
            "Content-Disposition",
            [f"{disposition};", *file_name_words(clean_file_name(attachment.name))],
        ),
    ]
    if content_id is not None:
        fields.append(header("Content-ID", [f"<{content_id}>"]))
    return [*fields, b"\r\n", _base64(content)]


def _content_type(declared: str) -> str:
    if not _CONTENT_TYPE.fullmatch(declared):
        raise ValueError("the content type is not of the form type/subtype")
    # Composite types must not be in base64 (RFC 2045 §6.4), and in nothing else would foreign
    # bytes arrive unchanged. A mail attached as a file is still known by its name.
    if declared.lower().startswith(("message/", "multipart/")):
        return "application/octet-stream"
    return declared


def _base64(content: bytes) -> bytes:
    encoded = b2a_base64(content, newline=False)
    step = _BASE64_LINE
    return b"\r\n".join([encoded[i : i + step] for i in range(0, len(encoded), step)])


def multipart(subtype: str, boundary: str, parts: Sequence[Part], *parameters: str) -> Part:
    """Return ``parts`` as ``multipart/subtype`` (RFC 2046 §5.1)."""
    words = [f"multipart/{subtype};", *(f"{p};" for p in parameters), f'boundary="{boundary}"']
    delimiter = b"--" + boundary.encode("ascii")
    pieces = [header("Content-Type", words), b"\r\n"]
    for part in parts:
        pieces += [delimiter, b"\r\n", *part, b"\r\n"]
    return [*pieces, delimiter, b"--"]
