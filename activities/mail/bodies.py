"""Which parts are the text, which the html, and which are attachments (RFC 8621 §4.1.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from activities.mail.structure import Part
from models.message import AttachmentPosition

_PICTURE: Final = re.compile(r"cid:([^\s\"'<>()]{1,998})")


@dataclass(slots=True)
class Bodies:
    """The parts of a mail by what they are for."""

    text: list[Part] = field(default_factory=list)
    html: list[Part] = field(default_factory=list)
    attachments: list[Part] = field(default_factory=list)


def choose_bodies(root: Part) -> Bodies:
    """Sort the leaves of a tree as RFC 8621 §4.1.4 suggests.

    Departures from its sketch: ``text`` keeps only plain and ``html`` only html parts, because the
    caller joins each list into one document; media is always listed among the attachments.
    """
    bodies = Bodies()
    _sort([root], "mixed", False, bodies)
    return bodies


def _sort(parts: list[Part], kind: str, in_alternative: bool, bodies: Bodies) -> None:
    for index, part in enumerate(parts):
        if part.children is not None:
            inner = part.type.partition("/")[2]
            _sort(part.children, inner, in_alternative or inner == "alternative", bodies)
        elif part.type in ("text/plain", "text/html") and _is_inline(part, index, kind):
            (bodies.html if part.type == "text/html" else bodies.text).append(part)
        else:
            bodies.attachments.append(part)


def _is_inline(part: Part, index: int, kind: str) -> bool:
    """Whether a text part is shown in the body."""
    if part.disposition.value == "attachment":
        return False
    return index == 0 or (kind != "related" and not part.name)


def join_texts(texts: list[str]) -> str | None:
    """One text of the texts of several parts, their line ends as sent; None without any part."""
    return "\n".join([text.rstrip() for text in texts]) if texts else None


def shown_pictures(html: str | None) -> frozenset[str]:
    """The Content-IDs that an html refers to (RFC 2392)."""
    if not html or "cid:" not in html:
        return frozenset()
    found = _PICTURE.findall(html)
    return frozenset(found) | frozenset(map(unquote, found))


def position_of(
    disposition: str, content_id: str | None, shown: frozenset[str]
) -> AttachmentPosition:
    """Whether an attachment is shown within the text.

    Some programs call pictures attachments that their html shows, so the html has the last word.
    """
    inline = disposition == "inline" or (
        content_id is not None and (disposition != "attachment" or content_id in shown)
    )
    return AttachmentPosition.INLINE if inline else AttachmentPosition.NORMAL
