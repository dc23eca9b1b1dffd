"""What commands print: for people by rich, for programs one JSON document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
NoWaitFlag = Annotated[
    bool, typer.Option("--no-wait", help="Print the workflow's id and do not wait.")
]

_FILE_WIDTH = 160
"""Columns of a table that goes to a file or a pipe."""


class Output:
    """Where a command writes.

    Args:
        as_json: Whether standard output is for a program.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        # Markup and emoji codes must not rewrite what a mail says.
        self.console = Console(emoji=False, markup=False, highlight=False)
        if not self.console.is_terminal:
            self.console.width = max(self.console.width, _FILE_WIDTH)
        self.notes = Console(stderr=True, emoji=False, markup=False, highlight=False, quiet=as_json)

    def document(self, value: object) -> None:
        """Print the one JSON document."""
        typer.echo(json.dumps(plain(value), ensure_ascii=False, indent=2))

    def error(self, type: str, message: str, field: str | None = None) -> None:
        """Print an error as the one JSON document, or as a line for a person."""
        if self.as_json:
            self.document({"error": {"type": type, "message": message, "field": field}})
            return
        where = f"{field}: " if field and not message.startswith(f"{field}: ") else ""
        self.notes.print(f"{type}: {where}{message}", style="red", soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print rows for a person."""
        table = Table(title=title or None, title_justify="left", header_style="bold")
        for column in columns:
            # An id is there to be copied: never broken over two lines.
            table.add_column(column, overflow="fold", no_wrap=column == "id")
        for row in rows:
            table.add_row(*(shown(cell) for cell in row))
        self.console.print(table)

    def facts(self, title: str, facts: Mapping[str, object]) -> None:
        """Print named values for a person; empty ones are left out."""
        table = Table(title=title or None, title_justify="left", show_header=False, box=None)
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in facts.items():
            if value not in (None, "", [], ()):
                table.add_row(name, shown(value))
        self.console.print(table)


def plain(value: object) -> Any:
    """Return ``value`` as what JSON knows."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def shown(value: object) -> str:
    """Return ``value`` as a person reads it, without characters that steer a terminal."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S %Z").strip()
    if isinstance(value, list | tuple):
        return "; ".join(shown(each) for each in value)
    return printable(str(value))


def printable(text: str) -> str:
    """Return ``text`` with control characters other than line breaks and tabs made visible."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
