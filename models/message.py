"""Mails that a caller hands in, and mails as they are read back."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from models.addresses import AddressList, OneAddress
from models.base import Payload, Reference, Request, UtcDatetime
from models.custom_headers import CustomHeaders
from models.delivery_status import DeliveryStatus, Notify
from models.header_fields import (
    MAX_REFERENCES,
    AutoSubmitted,
    HeaderText,
    ListUnsubscribe,
    MessageIdentifier,
)
from models.names import Direction

MAX_INLINE_BYTES = 1_000_000
"""Largest mail a caller may hand in inside a payload; larger attachments go by ``content_ref``."""


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

    Address lists are strings with ``;`` between the addresses, or JSON arrays. ``reply_of`` and
    ``forward_of`` are ids of stored mails: the thread is then taken from there. ``in_reply_to`` and
    ``references`` say it for mails that are not in the store (RFC 5322 §3.6.4).
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
    reply_of: Reference | None = None
    forward_of: Reference | None = None
    in_reply_to: MessageIdentifier | None = None
    references: list[MessageIdentifier] = Field(default=[], max_length=MAX_REFERENCES)
    list_unsubscribe: ListUnsubscribe | None = None
    auto_submitted: AutoSubmitted | None = None
    headers: CustomHeaders = Field(default={})
    delivery_status: DeliveryStatus | None = None

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

    @model_validator(mode="after")
    def _one_thread(self) -> Self:
        stored = [name for name in ("reply_of", "forward_of") if getattr(self, name) is not None]
        if len(stored) > 1:
            raise ValueError("forward_of: a mail is either a reply or a forward")
        if stored and (self.in_reply_to is not None or self.references):
            raise ValueError(f"{stored[0]}: it takes the place of in_reply_to and references")
        return self

    @model_validator(mode="after")
    def _somebody_is_told(self) -> Self:
        # RFC 3461 §6: no report ever goes to the null sender, which an automatic answer has.
        asked = self.delivery_status and set(self.delivery_status.notify) - {Notify.NEVER}
        if asked and self.auto_submitted is AutoSubmitted.AUTO_REPLIED:
            raise ValueError("delivery_status: an automatic answer has nobody to report to")
        return self


class GetEmailMessageInput(Request):
    """Input of ``GetEmailMessage``.

    ``remote_images``: the link to the html shows pictures from the web as well; its ``size`` is
    that without them. Loading them tells the sender that, when and where the mail is read.
    """

    message_id: Reference
    remote_images: bool = False


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
