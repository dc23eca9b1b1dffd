"""Reads a whole store back through its repositories, as plain JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic_core import to_jsonable_python
from sqlalchemy import func
from sqlmodel import Session, SQLModel, col, select

from activities.store import ledger, mailboxes, messages
from activities.store.assembly import Store
from models.account import EmailAccount
from models.errors import ConnectorError
from models.tables import ContentRow, Cursor, Delivery, Folder, LogEntry, Retrieval


def everything(store: Store) -> dict[str, Any]:
    """All that the store can tell, by name; the bytes of content as their hashes."""
    with store.database.read() as session:
        found = {
            "rows": _rows(session),
            "accounts": [_account(store, session, a) for a in store.accounts.list(session)],
            "messages": {m.id: _message(store, session, m.id) for m in messages.recent(session)},
            "content": {
                key: hashlib.sha256(store.content.read(session, key)[1]).hexdigest()
                for key in session.exec(select(ContentRow.key).order_by(ContentRow.key))
            },
            "deliveries": {
                key: ledger.report(session, key)
                for key in session.exec(select(Delivery.id).order_by(Delivery.id))
            },
            "folders": [_folder(session, f) for f in session.exec(select(Folder))],
            "retrievals": [_retrieval(session, r) for r in session.exec(select(Retrieval))],
            "log": [
                entry.model_dump()
                for entry in session.exec(select(LogEntry).order_by(col(LogEntry.id)))
            ],
        }
    plain: dict[str, Any] = json.loads(json.dumps(to_jsonable_python(found)))
    return plain


def _rows(session: Session) -> dict[str, int]:
    return {
        table.name: session.connection().execute(select(func.count()).select_from(table)).scalar()
        or 0
        for table in SQLModel.metadata.sorted_tables
    }


def _account(store: Store, session: Session, account: EmailAccount) -> dict[str, Any]:
    passwords: dict[str, str | None] = {}
    for side, read in (
        ("outgoing", store.accounts.outgoing),
        ("incoming", store.accounts.incoming),
    ):
        try:
            secret = read(session, account.id)[1].password
        except ConnectorError as error:
            passwords[side] = f"({error.type})"
        else:
            passwords[side] = secret.get_secret_value() if secret else None
    return {**account.model_dump(mode="json"), "passwords": passwords}


def _message(store: Store, session: Session, message_id: str) -> dict[str, Any]:
    found = messages.get(session, message_id)
    return {
        **found.message.model_dump(),
        "kinds": sorted(found.content),
        "parts": [part.model_dump() for part in found.parts],
        "raw": hashlib.sha256(messages.raw(session, store.content, message_id)).hexdigest(),
    }


def _folder(session: Session, folder: Folder) -> dict[str, Any]:
    cursors = session.exec(select(Cursor).where(Cursor.folder_id == folder.id))
    unfinished = mailboxes.unfinished(session, folder.id, "default")
    return {
        **folder.model_dump(),
        "cursors": [cursor.model_dump() for cursor in cursors],
        "wanted": mailboxes.wanted(session, folder.id, "default", 9),
        "unfinished": {b.id: mailboxes.items(session, b.id) for b in unfinished},
    }


def _retrieval(session: Session, plan: Retrieval) -> dict[str, Any]:
    return {
        **plan.model_dump(),
        "handled": {b: mailboxes.handled(session, plan, b) for b in ("batch-0", "batch-1")},
    }
