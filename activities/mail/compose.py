"""Builds the bytes of a new mail, once; every attempt to send it uses the same bytes.

All that could vary (Message-ID, Date, boundaries, Content-IDs) is given or follows from the
Message-ID, so that composing again yields the same mail. Recipients in Bcc stand in the envelope
only.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import quote, unquote

from pydantic import ValidationError

from activities.mail.compose_fields import (
    Thread,
    custom_fields,
    list_fields,
    origin_field,
    thread_fields,
    thread_of,
)
from activities.mail.compose_headers import header, mailbox_words, text_words
from activities.mail.compose_parts import Part, file_part, multipart, text_part
from activities.ports import ComposedMail, ThreadParent
from models.addresses import Mailbox, ascii_domain, wire_address
from models.errors import ConnectorError, ErrorType, bounded
from models.header_fields import AutoSubmitted
from models.message import Attachment, AttachmentPosition, EmailMessage

# Up to the quotation mark that opened it, else to the end of a bare value or CSS url().
_REFERENCE = re.compile(
    r'"\s*cid:mxcid:(?P<double>[^"]*)"'
    r"|'\s*cid:mxcid:(?P<single>[^']*)'"
    r"|cid:mxcid:(?P<bare>(?:(?!&quot;|&apos;|&#3[49];|&#x2[27];)[^\s\"'<>)])*)",
    re.IGNORECASE,
)
_MESSAGE_ID = re.compile(r"<[!-;=?A-~]{1,640}@[!-;=?A-~]{1,255}>")


def new_internet_message_id(message_id: str, address: str) -> str:
    """Return the Message-ID of our mail ``message_id`` (RFC 5322 §3.6.4), always the same one."""
    return f"<{message_id}@{ascii_domain(address)}>"


def compose(
    message: EmailMessage,
    *,
    account_address: str,
    full_name: str,
    internet_message_id: str,
    date: datetime,
    attachments: Sequence[bytes],
    parent: ThreadParent | None = None,
) -> ComposedMail:
    """Build the mail.

    An address with a local part that is not ASCII makes it an internationalised mail (RFC 6532),
    for which the server must offer SMTPUTF8 (``needs_smtputf8``); nothing else does.

    Args:
        message: What to send.
        account_address: The account's address, the sender unless the mail names another.
        full_name: The account's full name, shown unless the mail names another.
        internet_message_id: Message-ID with its brackets.
        date: The instant in the Date field, aware.
        attachments: Content of each of ``message.attachments``, in their order.
        parent: The stored mail that ``message`` answers or forwards.

    Raises:
        ConnectorError: ``INVALID_INPUT`` with the field that cannot be sent as it is.
    """
    sender = _sender(message, account_address, full_name)
    thread = thread_of(message, parent)
    fields = _fields(message, sender, internet_message_id, date, thread)
    body = _body(message, internet_message_id, attachments)
    if not body[-1].endswith(b"\r\n"):
        body.append(b"\r\n")
    return ComposedMail(
        raw=b"".join([*fields, b"MIME-Version: 1.0\r\n", *body]),
        internet_message_id=internet_message_id,
        envelope_from=_reverse_path(message, sender),
        subject=message.subject,
        sender=sender.address,
        to=tuple(mailbox.address for mailbox in message.to),
        cc=tuple(mailbox.address for mailbox in message.cc),
        attachments=len(message.attachments),
        in_reply_to=thread.in_reply_to,
        references=thread.references,
    )


def _reverse_path(message: EmailMessage, sender: Mailbox) -> str:
    """Return the envelope's sender; null for an automatic answer (RFC 3834 §3.3)."""
    if message.auto_submitted is AutoSubmitted.AUTO_REPLIED:
        return ""
    return wire_address(sender.address)


def _sender(message: EmailMessage, account_address: str, full_name: str) -> Mailbox:
    given = message.from_address
    address_field = "account.email_address" if given is None else "message.from_address"
    if message.from_display_name:
        name_field, name = "message.from_display_name", message.from_display_name
    elif given is not None and given.name:
        name_field, name = address_field, given.name
    else:
        name_field, name = "account.full_name", full_name
    try:
        return Mailbox(name=name, address=account_address if given is None else given.address)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = name_field if problem["loc"] == ("name",) else address_field
        reason = problem["msg"].removeprefix("Value error, ")
        raise ConnectorError(ErrorType.INVALID_INPUT, reason, field=field) from None


def _fields(
    message: EmailMessage,
    sender: Mailbox,
    internet_message_id: str,
    date: datetime,
    thread: Thread,
) -> list[bytes]:
    with _naming("internet_message_id"):
        if not _MESSAGE_ID.fullmatch(internet_message_id):
            raise ValueError("a Message-ID has the form <left@right>")
    fields = [
        header("Message-ID", [internet_message_id]),
        header("Date", [format_datetime(date)]),
    ]
    for name, field, mailboxes in (
        ("From", "message.from_address", (sender,)),
        ("Reply-To", "message.reply_to", message.reply_to),
        ("To", "message.to", message.to),
        ("Cc", "message.cc", message.cc),
    ):
        if mailboxes:
            with _naming(field):
                fields.append(header(name, mailbox_words(mailboxes), utf8=True))
    with _naming("message.references"):
        fields += thread_fields(thread)
    with _naming("message.subject"):
        fields.append(header("Subject", text_words(message.subject)))
    if message.auto_submitted is not None:
        fields.append(origin_field(message.auto_submitted))
    if message.list_unsubscribe is not None:
        with _naming("message.list_unsubscribe"):
            fields += list_fields(message.list_unsubscribe)
    with _naming("message.headers"):
        fields += custom_fields(message.headers)
    return fields


def _body(message: EmailMessage, internet_message_id: str, contents: Sequence[bytes]) -> Part:
    """mixed( alternative( text, related( html, inline … ) ), attachment … ), as far as needed."""
    unique = hashlib.sha256(internet_message_id.encode()).hexdigest()[:32]
    right = internet_message_id.rpartition("@")[2].removesuffix(">")
    page = None if message.use_only_plain_text else message.content
    shown = {
        number: f"{number}.{unique}@{right}"
        for number, attachment in enumerate(message.attachments)
        if page and attachment.position is AttachmentPosition.INLINE
    }
    related, loose = _files(message, contents, shown)
    readings: list[Part] = []
    if message.plain_body:
        with _naming("message.plain_body"):
            readings.append(text_part("plain", message.plain_body))
    if page:
        with _naming("message.content"):
            part = text_part("html", _with_images(page, message.attachments, shown))
        if related:
            part = multipart("related", f"=_{unique}_r", [part, *related], 'type="text/html"')
        readings.append(part)
    body = readings[0]
    if len(readings) > 1:
        body = multipart("alternative", f"=_{unique}_a", readings)
    return multipart("mixed", f"=_{unique}_m", [body, *loose]) if loose else body


def _files(
    message: EmailMessage, contents: Sequence[bytes], shown: Mapping[int, str]
) -> tuple[list[Part], list[Part]]:
    """Return the parts that the html shows, and those beside it."""
    related: list[Part] = []
    loose: list[Part] = []
    for number, (attachment, content) in enumerate(zip(message.attachments, contents, strict=True)):
        with _naming(f"message.attachments.{number}.content_type"):
            content_id = shown.get(number)
            part = file_part(attachment, content, content_id)
            (loose if content_id is None else related).append(part)
    return related, loose


def _with_images(page: str, attachments: Sequence[Attachment], shown: Mapping[int, str]) -> str:
    """Replace each ``cid:mxcid:NAME`` by the Content-ID URL of that attachment (RFC 2392)."""
    urls: dict[str, str] = {}
    for number, content_id in shown.items():
        urls.setdefault(attachments[number].name, "cid:" + quote(content_id, safe="@"))

    def url(match: re.Match[str]) -> str:
        mark = match[0][0] if match.lastgroup != "bare" else ""
        written = match[match.lastgroup or 0].strip()
        unescaped = html.unescape(written)
        for name in (written, unquote(written), unescaped, unquote(unescaped)):
            if name in urls:
                return mark + urls[name] + mark
        raise ConnectorError(
            ErrorType.INVALID_INPUT,
            f"no inline attachment is called '{bounded(unescaped, 80)}'",
            field="message.content",
        )

    return _REFERENCE.sub(url, page)


@contextmanager
def _naming(field: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ConnectorError(ErrorType.INVALID_INPUT, str(error), field=field) from None
