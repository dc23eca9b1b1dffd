"""Which runs are wanted, as a visibility query of Temporal's."""

from __future__ import annotations

import re
from dataclasses import dataclass

from models.errors import ConnectorError, ErrorType
from models.names import Direction, RunStatus, SearchAttribute

_PLAIN = re.compile(r"[A-Za-z0-9_.\-]+")


@dataclass(frozen=True, slots=True)
class RunFilter:
    """What a run must be; None = anything."""

    account_id: str | None = None
    status: RunStatus | None = None
    direction: Direction | None = None

    def query(self) -> str:
        """Return the query; without any condition, for all runs about mail.

        Raises:
            ConnectorError: ``InvalidInput`` for a value that cannot be an id.
        """
        wanted = {
            SearchAttribute.ACCOUNT: self.account_id,
            SearchAttribute.STATUS: self.status,
            SearchAttribute.DIRECTION: self.direction,
        }
        conditions = [f"{name} = {_quoted(value)}" for name, value in wanted.items() if value]
        return " AND ".join(conditions) or f"{SearchAttribute.DIRECTION} IS NOT NULL"


def _quoted(value: str) -> str:
    # Nothing that needs escaping gets in, so that nothing depends on how the server unescapes.
    if not _PLAIN.fullmatch(value):
        raise ConnectorError(ErrorType.INVALID_INPUT, "not the id of an account", field="account")
    return f'"{value}"'
