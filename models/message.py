"""Mails that a caller hands in, and mails as they are read back."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from models.addresses import AddressList, OneAddress
from models.base import Payload, Reference, Request, UtcDatetime
from models.names import Direction

MAX_INLINE_BYTES = 1_000_000
"""Largest mail a caller may hand in inside a payload; larger attachments go by ``content_ref``."""

HeaderText = Annotated[
    str, StringConstraints(max_length=2000, pattern=r"^[^\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]*$")
]
"""Text for a header field: no line break of any alphabet, no control character (RFC 5322 §2.2)."""


class AttachmentPosition(StrEnum):
    """Where an attachment appears."""

    NORMAL = "normal"
    INLINE = "inline"


class Attachment(Request):
    """A file that travels with a mail.

    ``content`` is base64. An inline attachment is shown where the html says
    ``<img src="cid:mxcid:NAME">`` with the attachment's name.
    """

    name: Annotated[HeaderText, StringConstraints(min_length=1, max_length=255)]
    content_type: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z0-9!#$&^_.+\-]{1,127}/[A-Za-z0-9!#$&^_.+\-]{1,127}$"),
    ] = "application/octet-stream"
    position: AttachmentPosition = AttachmentPosition.NORMAL
    content: str | None = None
    content_ref: Reference | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.content is None) == (self.content_ref is None):
            raise ValueError("content: give either content (base64) or content_ref")
        return self


class EmailMessage(Request):
    """A mail to send. ``to`` and a body (``content`` in html or ``plain_body``) are mandatory.

    Address lists are strings with ``;`` between the addresses, or JSON arrays.
    """

    to: AddressList
    cc: AddressList = ()
    bcc: AddressList = ()
    reply_to: AddressList = ()
    subject: HeaderText = ""
    content: str | None = None
    plain_body: str | None = None
    use_only_plain_text: bool = False
    from_address: OneAddress | None = None
    from_display_name: HeaderText | None = None
    attachments: list[Attachment] = Field(default=[], max_length=500)

    @model_validator(mode="after")
    def _sendable(self) -> Self:
        if not self.to:
            raise ValueError("to: give at least one address")
        if not (self.content or self.plain_body):
            raise ValueError("content: give content (html) or plain_body")
        if self.use_only_plain_text and not self.plain_body:
            raise ValueError("plain_body: required when use_only_plain_text is set")
        inline = len(self.content or "") + len(self.plain_body or "")
        inline += sum(len(a.content or "") for a in self.attachments)
        if inline > MAX_INLINE_BYTES:
            raise ValueError(
                f"attachments: {inline} characters are too many for a payload (at most "
                f"{MAX_INLINE_BYTES}); store large files first and give their content_ref"
            )
        return self


class GetEmailMessageInput(Request):
    """Input of ``GetEmailMessage``."""

    message_id: Reference


class ContentLink(Payload):
    """A piece of content: read it at ``url`` until ``expires_at``, or by ``key`` with the CLI."""

    key: str
    media_type: str
    size: int
    url: str
    expires_at: UtcDatetime


class PartLink(ContentLink):
    """An attachment of a stored mail."""

    name: str
    position: AttachmentPosition
    content_id: str | None = None


class GetEmailMessageResult(Payload):
    """Result of ``GetEmailMessage``: the envelope and where to read the content."""

    id: str
    account_id: str
    direction: Direction
    status: str
    internet_message_id: str | None = None
    subject: str = ""
    sender: str = ""
    to: list[str] = Field(default_factory=list)
    cc: list[str] = Field(default_factory=list)
    date: UtcDatetime | None = None
    size: int = 0
    quarantined: bool = False
    raw: ContentLink | None = None
    text: ContentLink | None = None
    html: ContentLink | None = None
    parts: list[PartLink] = Field(default_factory=list)
