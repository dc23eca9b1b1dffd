"""`message`: list, show, export. Reads the store; Temporal need not run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from activities.mail.parse import parse
from activities.store import messages
from activities.store.assembly import Store
from activities.store.messages import StoredMessage
from models.errors import ConnectorError, ErrorType
from starter.connection import opened_store
from starter.endpoints.media import SERVED
from starter.output import JsonFlag, Output, printable

app = typer.Typer(help="Stored mails.", no_args_is_help=True)

_HIDDEN = {"request_hash", "callbacks"}

MessageArgument = Annotated[str, typer.Argument(help="Id of the mail.")]


@app.command("list")
def list_messages(
    account: Annotated[
        str | None, typer.Option("--account", help="Only mails of this account.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List the newest mails in the store, sent and received."""
    output = Output(as_json)
    with opened_store() as store, store.database.read() as session:
        account_id = store.accounts.get(session, account).id if account else None
        found = messages.recent(session, account_id=account_id, limit=limit)
    if as_json:
        output.document([m.model_dump(mode="json", exclude=_HIDDEN) for m in found])
        return
    output.table(
        "",
        ["id", "way", "status", "date", "from", "subject"],
        [[m.id, m.direction, m.status, m.date or m.created_at, m.sender, m.subject] for m in found],
    )


@app.command("show")
def show(message_id: MessageArgument, as_json: JsonFlag = False) -> None:
    """Show the envelope, the parts and the text of a mail."""
    output = Output(as_json)
    with opened_store() as store:
        found = _find(store, message_id)
        text = _text(store, found)
    message = found.message
    if as_json:
        parts = [p.model_dump(mode="json", exclude={"message_id"}) for p in found.parts]
        envelope = message.model_dump(mode="json", exclude=_HIDDEN)
        output.document({**envelope, "parts": parts, "text": text})
        return
    output.facts(
        "",
        {
            "id": message.id,
            "status": f"{message.direction}, {message.status}",
            "subject": message.subject,
            "from": message.sender,
            "to": message.to,
            "cc": message.cc,
            "date": message.date,
            "Message-ID": message.internet_message_id,
            "size": f"{message.size} bytes",
            "quarantined": message.quarantined,
        },
    )
    if found.parts:
        output.table(
            "",
            ["part", "name", "type", "size", "position"],
            [[p.number, p.name, p.media_type, p.size, p.position] for p in found.parts],
        )
    output.console.print()
    if not text and "html" in found.content:
        text = f"(html only: python -m starter message links {message.id})"
    output.console.print(printable(text), soft_wrap=True)


@app.command("links")
def links(message_id: MessageArgument, as_json: JsonFlag = False) -> None:
    """Make links to the content of a mail, for a browser or another program; they expire."""
    output = Output(as_json)
    with opened_store() as store:
        found = _find(store, message_id)
        keys = {row.kind: row.key for row in found.content.values() if row.kind in SERVED}
        if "html" in keys:
            keys["html with pictures from the web"] = messages.pictured_key(found.message.id)
        keys |= {
            f"part {part.number}: {part.name}": messages.part_key(part) for part in found.parts
        }
        signed = {name: store.links.sign(key) for name, key in keys.items()}
    if as_json:
        output.document(
            {name: {"url": url, "expires_at": str(end)} for name, (url, end) in signed.items()}
        )
        return
    for name, (url, _) in signed.items():
        output.console.print(f"{printable(name)}\n  {url}", soft_wrap=True)
    output.notes.print("They need 'python -m starter up' or 'serve', and expire soon.")


@app.command("export")
def export(
    message_id: MessageArgument,
    part: Annotated[
        int | None, typer.Option("--part", min=0, help="An attachment, by its number in 'show'.")
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="The plain text.")] = False,
    html: Annotated[bool, typer.Option("--html", help="The html, made safe to show.")] = False,
    to: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to; else standard output."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write the exact bytes of a mail as received or sent, or one piece of it."""
    output = Output(as_json)
    if (part is not None) + text + html > 1:
        raise typer.BadParameter("give only one of --part, --text and --html")
    if as_json and to is None:
        raise typer.BadParameter("--json needs -o FILE: the bytes are no JSON document")
    with opened_store() as store:
        found = _find(store, message_id)
        if part is not None:
            data = _part(store, found, part)
        elif text:
            data = _text(store, found).encode()
        elif html:
            data = _piece(store, found, "html")
        else:
            data = _raw(store, found)
    if to is None and sys.stdout.isatty():
        # A mail is a stranger's text: its control characters must not reach the terminal.
        output.console.print(printable(data.decode("utf-8", "replace")), soft_wrap=True)
        return
    if to is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    to.write_bytes(data)
    if as_json:
        output.document({"file": str(to), "bytes": len(data)})
    else:
        output.notes.print(f"{len(data)} bytes written to {to}")


def _find(store: Store, message_id: str) -> StoredMessage:
    with store.database.read() as session:
        return messages.get(session, message_id)


def _raw(store: Store, found: StoredMessage) -> bytes:
    with store.database.read() as session:
        return messages.raw(session, store.content, found.message.id)


def _text(store: Store, found: StoredMessage) -> str:
    """The stored text; that of a sent mail stands in its bytes only."""
    if "text" in found.content:
        return _piece(store, found, "text").decode("utf-8", "replace")
    return parse(_raw(store, found)).text or ""


def _part(store: Store, found: StoredMessage, number: int) -> bytes:
    parts = parse(_raw(store, found)).parts
    if number >= len(parts):
        raise ConnectorError(
            ErrorType.CONTENT_NOT_FOUND, f"the mail has {len(parts)} parts", field="part"
        )
    return parts[number].data


def _piece(store: Store, found: StoredMessage, kind: str) -> bytes:
    row = found.content.get(kind)
    if row is None:
        raise ConnectorError(ErrorType.CONTENT_NOT_FOUND, f"the mail has no stored {kind}")
    with store.database.read() as session:
        return store.content.read(session, row.key)[1]
