"""When each account was changed last: what is cheap to ask again and again."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, select

from models.tables import AccountRow


def versions(session: Session) -> dict[str, datetime]:
    """Return the moment of the last change by account id."""
    return dict(session.exec(select(AccountRow.id, AccountRow.updated_at)).all())
