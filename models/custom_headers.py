"""Header fields that a caller may add to a mail by name: a list of what may, never of what may not.

Everything else is refused: the fields that the engine writes, those that servers write, and those
by which a mail is routed, answered or reported on behind the envelope's back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from models.header_fields import HeaderText

MAX_HEADERS: Final = 50
MAX_NAME_CHARS: Final = 76
MAX_WORD_CHARS: Final = 900
"""Longest piece of a value that no fold can cut; with the name it stays within a line."""
_MAX_TOTAL_CHARS: Final = 16_000


class FieldKind(Enum):
    """How a value is written."""

    TEXT = "text"
    """Unstructured: as it is, or in encoded words (RFC 2047 §5 (1))."""
    PHRASES = "phrases"
    """Phrases with commas between them, each encoded on its own (RFC 5322 §3.6.5)."""
    TOKEN = "token"  # noqa: S105 - a kind of value, not a secret
    """What programs read: ASCII of a given form, never encoded."""


@dataclass(frozen=True, slots=True)
class CustomField:
    """A header field that may be set, and the form of a token."""

    kind: FieldKind
    form: re.Pattern[str] | None = None


def _token(form: str) -> CustomField:
    return CustomField(FieldKind.TOKEN, re.compile(form, re.IGNORECASE))


_TEXT: Final = CustomField(FieldKind.TEXT)
_ATOM = r"[a-z0-9!#$%&'*+\-/=?^_`{|}~]+"
_URL = r"<(?:https?|mailto):[!#-;=?-~]+>"
_URLS = rf"{_URL}(?:, ?{_URL})*"

ALLOWED: Final[dict[str, CustomField]] = {
    "archived-at": _token(_URL),  # RFC 5064
    "comments": _TEXT,
    "feedback-id": _token(r"[!-~]{1,200}"),
    "importance": _token("low|normal|high"),  # RFC 2156
    "keywords": CustomField(FieldKind.PHRASES),
    "list-archive": _token(_URLS),  # RFC 2369
    "list-help": _token(_URLS),
    "list-id": _token(
        rf'(?:(?:"[ !#-;=?-\[\]-~]*"|{_ATOM}(?: {_ATOM})*) )?<{_ATOM}(?:\.{_ATOM})+>'  # RFC 2919
    ),
    "list-owner": _token(_URLS),
    "list-post": _token(rf"NO|{_URLS}"),
    "list-subscribe": _token(_URLS),
    "organization": _TEXT,
    "precedence": _token("bulk|list|junk"),
    "priority": _token("normal|urgent|non-urgent"),  # RFC 2156
    "sensitivity": _token("personal|private|company-confidential"),  # RFC 2156
    "thread-index": _token(r"[a-z0-9+/]+={0,2}"),
    "thread-topic": _TEXT,
    "x-priority": _token(r"[1-5](?: \([a-z]+\))?"),
}
"""By lower-case name. Beside these, every ``X-`` field that is not in one of the next two."""

_ROUTING: Final = frozenset(
    {
        "x-apparently-to", "x-bcc", "x-cc", "x-confirm-reading-to", "x-delivered-to",
        "x-envelope-from", "x-envelope-to", "x-errors-to", "x-failed-recipients",
        "x-forwarded-for", "x-forwarded-to", "x-mailgun-recipient-variables",
        "x-mc-bccaddress", "x-msys-api", "x-original-from", "x-original-to", "x-rcpt-to",
        "x-receipt-to", "x-recipient", "x-return-path", "x-sender", "x-smtpapi", "x-to",
        "x-ses-source-arn", "x-ses-from-arn", "x-ses-return-path-arn",
    }
)  # fmt: skip
"""Relays and providers take recipients, senders or the return path from these."""

_SERVERS: Final = ("x-ms-exchange-", "x-microsoft-antispam", "x-forefront-", "x-google-", "x-gm-")
"""Fields that servers write for one another."""

_OWN_FIELD: Final = {
    "auto-submitted": "auto_submitted", "bcc": "bcc", "cc": "cc", "from": "from_address",
    "in-reply-to": "in_reply_to", "list-unsubscribe": "list_unsubscribe",
    "list-unsubscribe-post": "list_unsubscribe", "references": "references",
    "reply-to": "reply_to", "subject": "subject", "to": "to",
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.\-]*[A-Za-z0-9])?")


def custom_field(name: str) -> CustomField:
    """Return what is known of a field that may be set.

    Raises:
        ValueError: The name is not one that a caller may use.
    """
    if len(name) > MAX_NAME_CHARS or not _NAME.fullmatch(name):
        raise ValueError("a name consists of letters, digits and hyphens, 76 at most")
    lower = name.lower()
    if known := ALLOWED.get(lower):
        return known
    if own := _OWN_FIELD.get(lower):
        raise ValueError(f"this header field is set by the mail's own field {own}")
    if not lower.startswith("x-") or lower in _ROUTING or lower.startswith(_SERVERS):
        raise ValueError("this header field cannot be set")
    return _TEXT


def _checked(headers: dict[str, str]) -> dict[str, str]:
    if len({name.lower() for name in headers}) != len(headers):
        raise ValueError("a name stands here twice")
    if sum(len(name) + len(value) for name, value in headers.items()) > _MAX_TOTAL_CHARS:
        raise ValueError(f"names and values have at most {_MAX_TOTAL_CHARS} characters together")
    for position, (name, value) in enumerate(headers.items(), 1):
        try:
            _check(name, value)
        except ValueError as error:
            raise ValueError(f"{_shown(name, position)}: {error}") from None
    return headers


def _check(name: str, value: str) -> None:
    field = custom_field(name)
    if not value.strip():
        raise ValueError("the value is empty")
    if field.form is not None and not _fits(field.form, value):
        raise ValueError("the value does not have the form of this field")


def _shown(name: str, position: int) -> str:
    # A key of the caller's own may be anything: only names that we know are repeated.
    known = name.lower() in ALLOWED or name.lower() in _OWN_FIELD or name.lower() in _ROUTING
    return name if known else f"header {position}"


def _fits(form: re.Pattern[str], value: str) -> bool:
    longest = max(len(word) for word in value.split(" "))
    return longest <= MAX_WORD_CHARS and value.isascii() and form.fullmatch(value) is not None


CustomHeaders = Annotated[
    dict[str, HeaderText], Field(max_length=MAX_HEADERS), AfterValidator(_checked)
]
"""Header fields by name, each name once."""
