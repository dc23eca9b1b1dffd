"""Parts that Outlook has wrapped in ``winmail.dat``, put among the ordinary attachments."""

from __future__ import annotations

from typing import Final

from activities.mail.bodies import position_of, shown_pictures
from activities.mail.envelope import clean_line
from activities.mail.part_names import name_of_part
from activities.mail.tnef import Tnef, read_tnef
from activities.ports import ParsedPart
from models.message import AttachmentPosition

_TYPES: Final = frozenset({"application/ms-tnef", "application/vnd.ms-tnef"})
_MAX_DEPTH: Final = 5
_MAX_PARTS: Final = 10_000


def is_wrapped(part: ParsedPart) -> bool:
    """Whether a part may be a ``winmail.dat``."""
    return part.content_type in _TYPES or part.name.lower() == "winmail.dat"


def unwrap(
    text: str | None, html: str | None, parts: list[ParsedPart]
) -> tuple[str | None, str | None, list[ParsedPart]]:
    """Add what the wrapped parts hold; the originals stay.

    Args:
        text: The text of the mail; that of a wrapped part only stands in for a missing one.
        html: The same for the html.
        parts: The attachments.

    Returns:
        All three, completed.
    """
    result = list(parts)
    had_text = text is not None or html is not None
    waiting = [(part, 1) for part in parts if is_wrapped(part)]
    while waiting and len(result) < _MAX_PARTS:
        wrapped, depth = waiting.pop(0)
        tnef = read_tnef(wrapped.data)
        if tnef is None:
            continue
        if depth == 1 and not had_text:
            text, html = text or tnef.text, html or tnef.html
        added = _parts(tnef, shown_pictures(html), len(result))
        if tnef.rtf is not None and html is None:
            added.append(_rich_text(tnef.rtf))
        result += added
        if depth < _MAX_DEPTH:
            # A mail that was forwarded inside this one.
            waiting += [(part, depth + 1) for part in added if part.content_type in _TYPES]
    return text, html, result


def _parts(tnef: Tnef, shown: frozenset[str], before: int) -> list[ParsedPart]:
    return [
        ParsedPart(
            name=clean_line(file.name) or name_of_part(file.content_type, before + number),
            content_type=file.content_type,
            position=position_of("attachment", file.content_id, shown),
            data=file.data,
            content_id=file.content_id,
        )
        for number, file in enumerate(tnef.files, 1)
    ]


def _rich_text(rtf: bytes) -> ParsedPart:
    """The formatted text, where the mail has no html that says the same."""
    return ParsedPart(
        name="message.rtf",
        content_type="text/rtf",
        position=AttachmentPosition.NORMAL,
        data=rtf,
    )
