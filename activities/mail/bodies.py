"""Which parts are the text, which the html, and which are attachments (RFC 8621 §4.1.4)."""

from __future__ import annotations

from dataclasses import dataclass, field

from activities.mail.structure import Part

_MEDIA = ("image/", "audio/", "video/")


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
        if part.multipart:
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
