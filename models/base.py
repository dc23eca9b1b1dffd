"""Base classes of everything that travels in a payload."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, StringConstraints


class Payload(BaseModel):
    """An input, result or state.

    Frozen; unknown fields are ignored so that an older worker can read what a newer starter wrote;
    every field added later has a default.
    """

    # hide_input_in_errors: a validation error must never quote the mail or the secret it refused.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Request(Payload):
    """Input of a public workflow.

    Unknown fields are refused: a misspelt option that is silently dropped would send or delete
    something the caller did not ask for.
    """

    model_config = ConfigDict(extra="forbid")


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


UtcDatetime = Annotated[AwareDatetime, AfterValidator(_utc)]
"""An aware instant, normalised to UTC; ISO 8601 in JSON."""

Reference = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")
]
"""An id or a name that a caller gives to point at something stored."""
