"""Asks before something that cannot be undone."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from models.errors import ConnectorError, ErrorType
from starter.output import Output

YesFlag = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def confirmed(output: Output, question: str, what: str) -> bool:
    """Ask a person; raises ``InvalidInput`` where there is none to be asked.

    Args:
        output: Where the command writes.
        question: What is asked.
        what: What it is that needs --yes: "to delete".
    """
    if output.as_json or not sys.stdin.isatty():
        raise ConnectorError(
            ErrorType.INVALID_INPUT, f"say --yes {what} without being asked", field="yes"
        )
    return typer.confirm(question, err=True)
