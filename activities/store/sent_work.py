"""Which Sent folders there is something to do in, for queued mail."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlmodel import Session, select, union

from activities.store import sent_copies, verification
from models.tables import Delivery

_MOST = 100


def sent_folders(session: Session, account_id: str | None) -> list[str]:
    """Accounts with copies to file, or outcomes to look up; 100 at the most."""
    found = union(
        select(Delivery.account_id).where(*sent_copies.is_due()),
        select(Delivery.account_id).where(*verification.is_due(datetime.now(UTC))),
    ).subquery()
    query = select(found.c.account_id).limit(_MOST)
    if account_id is not None:
        query = query.where(found.c.account_id == account_id)
    return [row for (row,) in session.connection().execute(query)]
