"""Unstructured fields and message identifiers (RFC 5322 §3.6.4, §3.6.5) of received mail."""

from __future__ import annotations

import re
from typing import Final

from activities.mail.encoded_words import decode_words

_MAX_REFERENCES: Final = 1000
_MAX_IDENTIFIER: Final = 998
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_IDENTIFIER: Final = re.compile(r"<[^<>\s]{1,996}>")


def read_line(values: list[str] | None) -> str:
    """The text of an unstructured field such as Subject."""
    return clean_line(decode_words(values[0])) if values else ""


def clean_line(text: str) -> str:
    """One line of text, control characters of any alphabet made spaces."""
    return (text if text.isprintable() else _CONTROL.sub(" ", text)).strip()


def read_identifier(values: list[str] | None) -> str | None:
    """The first message identifier with its angle brackets, or whatever stands in its place."""
    if not values:
        return None
    match = _IDENTIFIER.search(values[0])
    return match[0] if match else read_line(values)[:_MAX_IDENTIFIER] or None


def read_references(values: list[str] | None) -> tuple[str, ...]:
    """All message identifiers, oldest first."""
    return tuple(_IDENTIFIER.findall(" ".join(values))[:_MAX_REFERENCES]) if values else ()
