"""The timeline: what happened to mails, accounts and retrievals.

Ids, codes and counts only; of an error also ``explanation``, in words of ours: what a peer said may
repeat parts of a mail.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session

from models.errors import ErrorType
from models.tables import LogEntry


def record(
    session: Session,
    event: str,
    *,
    account_id: str | None = None,
    message_id: str | None = None,
    error_type: ErrorType | None = None,
    **detail: Any,
) -> None:
    """Add a step to the timeline within the caller's transaction."""
    session.add(
        LogEntry(
            at=datetime.now(UTC),
            account_id=account_id,
            message_id=message_id,
            event=event,
            error_type=error_type,
            detail={k: v for k, v in detail.items() if v is not None},
        )
    )
