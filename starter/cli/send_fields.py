"""Options of ``send`` for what a mail says beside addresses, subject and body."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from models.delivery_status import Notify, ReturnContent
from models.errors import ConnectorError, ErrorType
from models.header_fields import AutoSubmitted

ReplyOf = Annotated[
    str | None,
    typer.Option("--reply-of", metavar="ID", help="Stored mail that this one answers."),
]
ForwardOf = Annotated[
    str | None,
    typer.Option("--forward-of", metavar="ID", help="Stored mail that this one forwards."),
]
InReplyTo = Annotated[
    str | None,
    typer.Option("--in-reply-to", metavar="MSGID", help="Message-ID that this mail answers."),
]
References = Annotated[
    list[str] | None,
    typer.Option("--reference", metavar="MSGID", help="Earlier mail of the thread; repeatable."),
]
Headers = Annotated[
    list[str] | None,
    typer.Option("--header", metavar="NAME:VALUE", help="A further header field; repeatable."),
]
Unsubscribe = Annotated[
    list[str] | None,
    typer.Option(
        "--list-unsubscribe",
        metavar="URL",
        help="https: or mailto: URL to leave the list; or both.",
    ),
]
OneClick = Annotated[
    bool, typer.Option("--one-click", help="A POST to that https: URL is enough (RFC 8058).")
]
Automatic = Annotated[
    AutoSubmitted | None,
    typer.Option("--auto-submitted", metavar="KIND", help="auto-generated or auto-replied."),
]
NotifyOn = Annotated[
    list[Notify] | None,
    typer.Option(
        "--notify", metavar="EVENT", help="Report success, failure, delay; or never; repeatable."
    ),
]
Return = Annotated[
    ReturnContent | None,
    typer.Option("--ret", metavar="PART", help="What a report brings back: full or headers."),
]


def unsubscribe(urls: list[str] | None, *, one_click: bool) -> dict[str, Any] | None:
    """Return ``list_unsubscribe``, each URL under the name of its kind."""
    if not urls:
        if one_click:
            raise _invalid("list_unsubscribe", "--one-click needs --list-unsubscribe")
        return None
    ways: dict[str, Any] = {"one_click": one_click}
    for url in urls:
        kind = "mailto" if url.lower().startswith("mailto:") else "url"
        if kind in ways:
            raise _invalid("list_unsubscribe", "give one https: and one mailto: URL at most")
        ways[kind] = url
    return ways


def headers(given: list[str] | None) -> dict[str, str]:
    """Return ``headers`` from ``NAME:VALUE``."""
    fields: dict[str, str] = {}
    for text in given or []:
        name, colon, value = text.partition(":")
        if not colon:
            raise _invalid("headers", "write NAME:VALUE")
        if name in fields:
            raise _invalid("headers", "a name stands here twice")
        fields[name] = value.strip(" ")
    return fields


def reports(notify: list[Notify] | None, ret: ReturnContent | None) -> dict[str, Any] | None:
    """Return ``delivery_status``."""
    return {"notify": notify or [], "ret": ret} if notify or ret else None


def _invalid(field: str, reason: str) -> ConnectorError:
    return ConnectorError(ErrorType.INVALID_INPUT, reason, field=f"message.{field}")
