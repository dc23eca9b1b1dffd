"""What a browser is told about a piece of content: type, name, and what it may do (nothing).

A mail's own word for the type of a part is a stranger's word. A short list of types that cannot
act is shown as what it says; everything else is a file to be saved.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import quote

_IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_TEXT: Final = "text/plain"
_BINARY: Final = "application/octet-stream"
_MAIL: Final = "message/rfc822"
_MAX_NAME: Final = 150

# Styles are those that the sanitiser let through, pictures those it put into the html itself. A
# sandbox without any permission has no scripts, no forms, no popups and an origin of its own.
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'; sandbox"
)
PICTURED: Final = "html_pictured"
"""Kind of html that shows pictures from the web."""
PROTECTION: Final = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    # A link is a capability for minutes: nobody keeps what it gave.
    "Cache-Control": "private, no-store",
}
"""Headers of every piece of content."""
_WITH_PICTURES: Final = PROTECTION | {
    "Content-Security-Policy": _POLICY.replace("img-src data:", "img-src data: http: https:")
}

SERVED: Final = frozenset({"raw", "mail", "text", "html"})
"""Kinds of stored content for which there are links; parts come out of the raw mail."""


def protection_of(kind: str) -> dict[str, str]:
    """Return the headers that keep a piece from acting."""
    return dict(_WITH_PICTURES if kind == PICTURED else PROTECTION)


def media_type_of(kind: str, claimed: str, data: bytes = b"") -> str:
    """Return the type under which a piece is served.

    Args:
        kind: Kind of the piece in the store, or ``part``.
        claimed: What the mail says a part is.
        data: The bytes of a part.
    """
    if kind in ("html", PICTURED):
        return "text/html; charset=utf-8"
    if kind == "text":
        return "text/plain; charset=utf-8"
    if kind in ("raw", "mail"):
        return _MAIL
    claimed = claimed.strip().lower()
    if claimed == _TEXT:
        return f"{_TEXT}; charset={_charset(data)}"
    return claimed if claimed in _IMAGES else _BINARY


def disposition_of(media_type: str, name: str) -> str:
    """Return a Content-Disposition (RFC 6266): shown, or saved under ``name``."""
    kind = "attachment" if media_type in (_MAIL, _BINARY) else "inline"
    name = file_name(name)
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9 ._()+-]", "_", plain).strip(" .") or "file"
    value = f'{kind}; filename="{plain}"'
    if plain != name:
        value += f"; filename*=UTF-8''{quote(name, safe='')}"  # RFC 8187
    return value


def file_name(name: str) -> str:
    """Return a name that is safe to save under: no path, no control or steering characters."""
    name = re.split(r"[/\\]", name)[-1]
    # Cf holds the marks that turn the reading direction and so hide an ending.
    kept = "".join(c for c in name if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))
    kept = re.sub(r'[<>:"|?*]', "_", kept).strip(" .")
    stem, dot, ending = kept.rpartition(".")
    if len(kept) > _MAX_NAME:
        ending = ending[:20] if dot else ""
        kept = f"{(stem or kept)[: _MAX_NAME - len(ending) - 1]}{dot}{ending}"
    return kept or "file"


def _charset(data: bytes) -> str:
    # The part's own word is not kept. What is valid UTF-8 hardly ever is anything else.
    try:
        data.decode()
    except UnicodeDecodeError:
        return "windows-1252"
    return "utf-8"
