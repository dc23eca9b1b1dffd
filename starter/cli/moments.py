"""Moments on the command line: an ISO 8601 date or time, or how long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

_AGO = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str) -> datetime:
    """Return the moment; one without a zone is in UTC."""
    ago = _AGO.fullmatch(text)
    if ago:
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            "write a moment as 2026-11-30, as 2026-11-30T08:00:00+01:00, or how long ago it was: "
            "90m, 6h, 2d"
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


SinceOption = Annotated[
    datetime | None,
    typer.Option("--since", parser=moment, metavar="MOMENT", help="From then on: 2d, 2026-11-30."),
]
UntilOption = Annotated[
    datetime | None, typer.Option("--until", parser=moment, metavar="MOMENT", help="Before then.")
]
