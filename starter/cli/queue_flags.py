"""Flags of `send` that concern the queue and the time."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from starter.cli.moments import moment

Queued = Annotated[
    bool, typer.Option("--queued", help="Put it into the queue, and do not wait for it.")
]
Priority = Annotated[
    int, typer.Option("--priority", min=1, max=5, help="Queued mail with 1 goes first.")
]
SendAt = Annotated[
    datetime | None,
    typer.Option("--send-at", parser=moment, metavar="MOMENT", help="Not before then."),
]
ExpiresAt = Annotated[
    datetime | None,
    typer.Option("--expires-at", parser=moment, metavar="MOMENT", help="Not after then."),
]
