"""What a mail may say in its header beside addresses and subject: thread, list, origin."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import StringConstraints, model_validator

from models.base import Request

HeaderText = Annotated[
    str, StringConstraints(max_length=2000, pattern=r"^[^\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]*$")
]
"""Text for a header field: no line break of any alphabet, no control character (RFC 5322 §2.2)."""

MAX_REFERENCES = 100
_MAX_IDENTIFIER_CHARS = 900  # with its field's name it stays within a line (RFC 5322 §2.1.1)

_ATOM = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+"
_DOT_ATOM = rf"{_ATOM}(?:\.{_ATOM})*"

MessageIdentifier = Annotated[
    str,
    StringConstraints(
        max_length=_MAX_IDENTIFIER_CHARS,
        pattern=rf"^<{_DOT_ATOM}@(?:{_DOT_ATOM}|\[[!-Z^-~]*\])>$",
    ),
]
"""A msg-id with its angle brackets, in the strict form (RFC 5322 §3.6.4)."""

_HTTPS = r"^https://[A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?(?::[0-9]{1,5})?(?:[/?][!#-;=?-~]*)?$"
_QCHAR = r"[A-Za-z0-9\-._~!$'()*+,;:@%/?]"
_MAILTO = (
    r"^mailto:[A-Za-z0-9!$'*+\-/=^_`{|}~.%]+@[A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?"
    rf"(?:\?(?:subject|body)={_QCHAR}*(?:&(?:subject|body)={_QCHAR}*)*)?$"
)


class AutoSubmitted(StrEnum):
    """A mail that no person wrote (RFC 3834 §5); responders leave it alone."""

    AUTO_GENERATED = "auto-generated"
    AUTO_REPLIED = "auto-replied"
    """An automatic answer. Its envelope has the null sender, so that nothing answers it."""


class ListUnsubscribe(Request):
    """Ways to leave the list that a mail was sent to (RFC 2369 §3.2).

    ``one_click`` promises that a POST to ``url`` unsubscribes without further questions (RFC 8058).
    """

    url: Annotated[str, StringConstraints(max_length=900, pattern=_HTTPS)] | None = None
    mailto: Annotated[str, StringConstraints(max_length=900, pattern=_MAILTO)] | None = None
    one_click: bool = False

    @model_validator(mode="after")
    def _one_way_at_least(self) -> Self:
        if self.url is None and self.mailto is None:
            raise ValueError("url: give url or mailto")
        if self.one_click and self.url is None:
            raise ValueError("one_click: it needs a url")
        return self
