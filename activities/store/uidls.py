"""Numbers in place of UIDLs (``activities.ports.UidlNumbers``), kept in the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, insert
from sqlmodel import Session, col, select

from activities.ports import Numbered
from activities.store.engine import Database
from activities.store.insertion import insert_missing
from models.tables import Maildrop, Uidl

_AT_ONCE: Final = 500
"""Rows of one statement: SQLite takes a limited number of parameters."""


class UidlNumbering:
    """Gives the mails of maildrops their numbers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def number(self, account_id: str, uid_validity: int, uidls: Sequence[str]) -> Numbered:
        """Return the numbers of all mails that are in the maildrop now."""
        with self._database.read() as session:
            change = _change(session, account_id, uid_validity, uidls)
        if change.is_none:  # the usual one: a look at an unchanged maildrop writes nothing
            return Numbered(change.uids, change.uid_next)
        with self._database.write() as session:
            _lock(session, account_id, uid_validity)
            change = _change(session, account_id, uid_validity, uidls)
            _forget(session, account_id, uid_validity, change.gone)
            if change.new:
                session.connection().execute(
                    insert(Uidl),
                    [
                        {
                            "account_id": account_id,
                            "uid_validity": uid_validity,
                            "uid": uid,
                            "uidl": uidl,
                        }
                        for uid, uidl in change.new
                    ],
                )
            _maildrop(session, account_id, uid_validity).uid_next = change.uid_next
        return Numbered(change.uids, change.uid_next)


@dataclass(frozen=True, slots=True)
class _Change:
    uids: list[int]
    uid_next: int
    new: list[tuple[int, str]]
    gone: list[int]

    @property
    def is_none(self) -> bool:
        return not self.new and not self.gone


def _change(session: Session, account_id: str, uid_validity: int, uidls: Sequence[str]) -> _Change:
    """What a listing changes.

    Fewer copies of a UIDL than before: which of them is left cannot be told, and a server may
    have given one UIDL to different mails. All of them get new numbers, so that they are read
    again, and recognised by their content: nothing is missed, and nothing repeated.
    """
    known: dict[str, list[int]] = {}
    rows = session.exec(
        select(Uidl.uidl, Uidl.uid)
        .where(Uidl.account_id == account_id, Uidl.uid_validity == uid_validity)
        .order_by(col(Uidl.uid))
    )
    for uidl, uid in rows:
        known.setdefault(uidl, []).append(uid)
    uid_next = session.exec(
        select(Maildrop.uid_next).where(
            Maildrop.account_id == account_id, Maildrop.uid_validity == uid_validity
        )
    ).one_or_none()
    return _assigned(known, uidls, uid_next or 1)


def _assigned(known: dict[str, list[int]], uidls: Sequence[str], uid_next: int) -> _Change:
    present = Counter(uidls)
    kept = {uidl: iter(uids) for uidl, uids in known.items() if len(uids) <= present[uidl]}
    gone = [uid for uidl, uids in known.items() if uidl not in kept for uid in uids]
    uids: list[int] = []
    new: list[tuple[int, str]] = []
    for uidl in uidls:
        uid = next(kept.get(uidl, iter(())), None)
        if uid is None:
            uid = uid_next
            uid_next += 1
            new.append((uid, uidl))
        uids.append(uid)
    return _Change(uids, uid_next, new, gone)


def _lock(session: Session, account_id: str, uid_validity: int) -> None:
    """Let nobody else number this maildrop until the transaction ends."""
    fresh = {"account_id": account_id, "uid_validity": uid_validity, "uid_next": 1}
    insert_missing(session, Maildrop, [fresh])
    _maildrop(session, account_id, uid_validity)


def _maildrop(session: Session, account_id: str, uid_validity: int) -> Maildrop:
    return session.exec(
        select(Maildrop)
        .where(Maildrop.account_id == account_id, Maildrop.uid_validity == uid_validity)
        .with_for_update()
    ).one()


def _forget(session: Session, account_id: str, uid_validity: int, uids: Iterable[int]) -> None:
    left = list(uids)
    for start in range(0, len(left), _AT_ONCE):
        session.connection().execute(
            delete(Uidl).where(
                col(Uidl.account_id) == account_id,
                col(Uidl.uid_validity) == uid_validity,
                col(Uidl.uid).in_(left[start : start + _AT_ONCE]),
            )
        )
