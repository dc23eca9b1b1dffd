"""Sample mails for the demo, with a picture and a document made here."""

from __future__ import annotations

import base64
import struct
import zlib

from models.message import Attachment, AttachmentPosition, EmailMessage

_SIZE = 64


def picture() -> bytes:
    """Return a small PNG: a gradient of 64 by 64 pixels."""
    rows = b"".join(
        b"\0" + bytes(value for x in range(_SIZE) for value in (x * 4, y * 4, 160))
        for y in range(_SIZE)
    )
    header = struct.pack(">IIBBBBB", _SIZE, _SIZE, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def document(text: str) -> bytes:
    """Return a PDF of one page that says ``text`` (ASCII without parentheses)."""
    drawing = f"BT /F1 24 Tf 72 720 Td ({text}) Tj ET".encode("ascii")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 5 0 R "
        b"/Resources << /Font << /F1 4 0 R >> >> >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawing), drawing),
    ]
    pdf = b"%PDF-1.4\n"
    offsets: list[int] = []
    for number, content in enumerate(objects, 1):
        offsets.append(len(pdf))
        pdf += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(pdf))
    return pdf + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + trailer


def mails(address: str, number: int) -> list[EmailMessage]:
    """Return a mail with picture and document, and ``number - 1`` short ones, to ``address``."""
    rich = EmailMessage.model_validate(
        {
            "to": address,
            "subject": "Welcome: a picture and a document",
            "content": "<h1>Welcome</h1><p>The picture stands in the text:</p>"
            '<p><img src="cid:mxcid:picture.png" alt="a gradient"></p>',
            "attachments": [
                _attachment("picture.png", "image/png", picture(), AttachmentPosition.INLINE),
                _attachment("welcome.pdf", "application/pdf", document("Welcome"), None),
            ],
        }
    )
    short = [
        EmailMessage.model_validate(
            {
                "to": address,
                "subject": f"Order {1000 + n} has shipped",
                "content": f"<p>Parcel <b>{n}</b> is on its way.</p>",
                "plain_body": f"Parcel {n} is on its way.",
            }
        )
        for n in range(1, number)
    ]
    return [rich, *short]


def _attachment(
    name: str, content_type: str, data: bytes, position: AttachmentPosition | None
) -> Attachment:
    return Attachment(
        name=name,
        content_type=content_type,
        position=position or AttachmentPosition.NORMAL,
        content=base64.b64encode(data).decode(),
    )
