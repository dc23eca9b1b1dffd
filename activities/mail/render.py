"""The html of a mail as it is stored and shown: sanitised, with its own images where asked for."""

from __future__ import annotations

import base64

from activities.mail.sanitize import sanitize
from activities.ports import ParsedMail
from models.mailbox import RetrievalOptions

_IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_MAX_IMAGE_BYTES = 2 * 1024 * 1024
"""Images of a mail above this in all stay attachments: they would be stored a second time."""


def render_html(
    mail: ParsedMail, options: RetrievalOptions, *, remote_images: bool = False
) -> str | None:
    """Return the sanitised html of ``mail``, or None when it has none.

    It is sanitised whatever ``options.sanitize`` says: without it the html as it came is stored
    beside this one, and never served.

    Args:
        mail: The mail.
        options: Whether its own pictures are shown.
        remote_images: Whether pictures from the web are, which tells the sender who reads it when.
    """
    if mail.html is None:
        return None
    images = _images(mail) if options.render_inline_images else None
    return sanitize(mail.html, inline_images=images, remote_images=remote_images)


def _images(mail: ParsedMail) -> dict[str, str]:
    found: dict[str, str] = {}
    room = _MAX_IMAGE_BYTES
    for part in mail.parts:
        if part.content_id is None or part.content_type.lower() not in _IMAGE_TYPES:
            continue
        room -= len(part.data)
        if room < 0:
            break
        encoded = base64.b64encode(part.data).decode()
        found[part.content_id] = f"data:{part.content_type.lower()};base64,{encoded}"
    return found
