"""Names of attachments whose sender gave none."""

from __future__ import annotations

import re
from typing import Final

_MAX_SUBJECT: Final = 200
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
    "application/pgp-signature": "asc",
    "application/pgp-encrypted": "asc",
    "application/pkcs7-signature": "p7s",
    "application/x-pkcs7-signature": "p7s",
    "application/pkcs7-mime": "p7m",
    "application/x-pkcs7-mime": "p7m",
}


def name_of_part(content_type: str, number: int) -> str:
    """A name for the n-th attachment, such as ``part-2.pdf``."""
    return f"part-{number}.{_EXTENSIONS.get(content_type, 'bin')}"


def name_of_message(subject: str) -> str:
    """A name for an enclosed mail: its subject, without what file systems refuse."""
    return f"{_NOT_IN_NAME.sub('_', subject)[:_MAX_SUBJECT].strip(' .') or 'message'}.eml"
