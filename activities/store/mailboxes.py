"""Replication in the store: leases, cursors, plans, batches.

The order of steps is law:

stored and committed → acknowledged → handled on the server → cursor advanced
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, CursorResult, insert, or_, update
from sqlmodel import Session, col, select

from activities.store.insertion import insert_missing
from activities.store.log import record
from activities.store.tallies import tally
from models.errors import ConnectorError, ErrorType
from models.failure import Failure
from models.ids import derived_id
from models.mailbox import RetrievalOptions, Rewind
from models.metrics import BATCH_DURATION, BATCHES
from models.tables import (
    Acknowledgement,
    BatchItem,
    CallbackDelivery,
    Cursor,
    Folder,
    Location,
    Message,
    Retrieval,
)
from models.uid_set import Range, as_ranges, expand, from_uids, subtract

STORED, ACKNOWLEDGED, SETTLED, ABANDONED = "stored", "acknowledged", "settled", "abandoned"

LAST_UID = 0xFFFFFFFF
_MAX_CONDITIONS = 50


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to change a folder on the server, as long as nobody bumps the epoch."""

    folder_id: str
    owner: str
    epoch: int


def ensure_folder(session: Session, account_id: str, name: str) -> Folder:
    """The row of a folder, made when it is new."""
    folder_id = derived_id("folder", account_id, name)
    fresh = {"id": folder_id, "account_id": account_id, "name": name, "lease_epoch": 0}
    insert_missing(session, Folder, [fresh])
    return session.exec(select(Folder).where(Folder.id == folder_id).with_for_update()).one()


def take_folder(session: Session, folder: Folder, owner: str, dead_owner: str | None) -> bool:
    """Make ``owner`` the one replicator of the folder.

    Succeeds when the folder is free, already ours, or held by ``dead_owner``, which the caller has
    found to be over. The epoch is bumped on a change of hands, so that what the old owner's
    workers still do on the server ends at their next step.
    """
    if folder.lease_owner not in (None, owner, dead_owner):
        return False
    if folder.lease_owner != owner:
        folder.lease_owner = owner
        folder.lease_epoch += 1
        session.add(folder)
    return True


def release_folder(session: Session, folder_id: str, owner: str) -> None:
    """Free the folder if ``owner`` still holds it."""
    session.connection().execute(
        update(Folder)
        .where(col(Folder.id) == folder_id, col(Folder.lease_owner) == owner)
        .values(lease_owner=None, lease_epoch=Folder.lease_epoch + 1)
    )


def hold_folder(session: Session, folder_id: str, owner: str) -> None:
    """Keep the folder for this transaction; one that nobody holds is taken (again).

    A run holds nothing after its end, but may be reset to a step before it.

    Raises:
        ConnectorError: ``LeaseLost`` when another run has taken the folder over.
    """
    free_or_ours = or_(col(Folder.lease_owner) == owner, col(Folder.lease_owner).is_(None))
    result: CursorResult[Any] = session.connection().execute(
        update(Folder).where(col(Folder.id) == folder_id, free_or_ours).values(lease_owner=owner)
    )
    if result.rowcount != 1:
        raise _lost()


def begin_step(session: Session, folder_id: str, owner: str) -> Lease:
    """Bump the epoch for a step that may change the server; overtakes an older frozen step."""
    result: CursorResult[Any] = session.connection().execute(
        update(Folder)
        .where(col(Folder.id) == folder_id, col(Folder.lease_owner) == owner)
        .values(lease_epoch=Folder.lease_epoch + 1)
    )
    if result.rowcount != 1:
        raise _lost()
    epoch = session.exec(select(Folder.lease_epoch).where(Folder.id == folder_id)).one()
    return Lease(folder_id, owner, epoch)


def check_lease(session: Session, lease: Lease) -> None:
    """Raise ``LeaseLost`` when another run holds the folder.

    Overtaken by a step of our own run, this one may be the frozen one or the one in use: it ends
    with ``MailboxBusy``, and Temporal repeats it if it is still wanted.
    """
    owner, epoch = session.exec(
        select(Folder.lease_owner, Folder.lease_epoch).where(Folder.id == lease.folder_id)
    ).one()
    if owner != lease.owner:
        raise _lost()
    if epoch != lease.epoch:
        raise ConnectorError(
            ErrorType.MAILBOX_BUSY, "another attempt at this step is at work in the folder"
        )


def _lost() -> ConnectorError:
    return ConnectorError(ErrorType.LEASE_LOST, "another run has taken this folder over")


def wanted(
    session: Session,
    folder_id: str,
    consumer: str,
    uid_validity: int,
    *,
    without: Sequence[str] = (),
) -> list[Range]:
    """UID ranges this consumer has not finished with, ascending.

    Batches in ``without`` are acknowledged and only wait to be settled.
    """
    cursor = session.exec(
        select(Cursor).where(Cursor.folder_id == folder_id, Cursor.consumer == consumer)
    ).one_or_none()
    if cursor is None or cursor.uid_validity != uid_validity:
        ranges = [(1, LAST_UID)]
    else:
        ranges = [*as_ranges(cursor.holes), (cursor.uid_next, LAST_UID)]
    pending = session.exec(
        select(BatchItem.uid)
        .join(CallbackDelivery, col(CallbackDelivery.id) == col(BatchItem.batch_id))
        .join(Retrieval, col(Retrieval.id) == col(CallbackDelivery.retrieval_id))
        .where(
            col(BatchItem.batch_id).in_(list(without)),
            Retrieval.uid_validity == uid_validity,
        )
    )
    return subtract(ranges, from_uids(pending))


def stored_uids(
    session: Session, folder_id: str, uid_validity: int, ranges: Sequence[Range]
) -> list[int]:
    """UIDs within ``ranges`` whose mail is stored, also when it has left the server since.

    A mail that another consumer has moved away, or whose callback never completed, is delivered
    from the store.
    """
    query = select(Location.uid).where(
        Location.folder_id == folder_id, Location.uid_validity == uid_validity
    )
    if len(ranges) <= _MAX_CONDITIONS:
        query = query.where(or_(*(col(Location.uid).between(*r) for r in ranges)))
    found = from_uids(session.exec(query))
    return list(expand(subtract(found, subtract(found, ranges))))


def stored_again(session: Session, folder_id: str, rewind: Rewind) -> tuple[int, list[int]]:
    """UIDVALIDITY of a folder as of its last run, and the UIDs that ``rewind`` means.

    Raises:
        ConnectorError: ``MessageNotFound`` when the one mail it means is not in the folder.
    """
    last = (
        select(Retrieval.uid_validity)
        .where(Retrieval.folder_id == folder_id)
        .order_by(col(Retrieval.created_at).desc())
        .limit(1)
    )
    validity = session.exec(last).first() or 1
    query = select(Location.uid).where(
        Location.folder_id == folder_id, Location.uid_validity == validity
    )
    if rewind.since is not None:
        query = query.join(Message, col(Message.id) == col(Location.message_id))
        query = query.where(col(Message.created_at) >= rewind.since)
    elif rewind.from_uid is not None:
        query = query.where(col(Location.uid) >= rewind.from_uid)
    else:
        query = query.where(Location.message_id == rewind.message_id)
    uids = list(session.exec(query))
    if rewind.message_id is not None and not uids:
        raise ConnectorError(
            ErrorType.MESSAGE_NOT_FOUND,
            "no mail with this id is stored of this folder",
            field="rewind.message_id",
        )
    return validity, uids


def account_of(session: Session, folder_id: str) -> str:
    """Id of the account a folder belongs to."""
    return session.exec(select(Folder.account_id).where(Folder.id == folder_id)).one()


def add_retrieval(
    session: Session,
    *,
    retrieval_id: str,
    folder_id: str,
    consumer: str,
    owner: str,
    uid_validity: int,
    options: RetrievalOptions,
    uids: Sequence[Range],
    total: int,
    rewound: bool = False,
) -> None:
    """Write the plan of a run; one that is there stands."""
    row = Retrieval(
        id=retrieval_id,
        folder_id=folder_id,
        consumer=consumer,
        owner=owner,
        uid_validity=uid_validity,
        options=options.model_dump(mode="json"),
        uids=[list(r) for r in uids],
        total=total,
        rewound=rewound,
        created_at=datetime.now(UTC),
    )
    insert_missing(session, Retrieval, [row.model_dump()])


def unfinished(session: Session, folder_id: str, consumer: str) -> list[CallbackDelivery]:
    """Batches of earlier runs that are stored or acknowledged but not settled, oldest first."""
    return list(
        session.exec(
            select(CallbackDelivery)
            .where(
                CallbackDelivery.folder_id == folder_id,
                CallbackDelivery.consumer == consumer,
                col(CallbackDelivery.state).in_((STORED, ACKNOWLEDGED)),
            )
            .order_by(col(CallbackDelivery.created_at), col(CallbackDelivery.number))
        )
    )


def batch(session: Session, batch_id: str) -> CallbackDelivery | None:
    """A batch by id."""
    return session.exec(
        select(CallbackDelivery).where(CallbackDelivery.id == batch_id)
    ).one_or_none()


def find_retrieval(session: Session, retrieval_id: str) -> Retrieval | None:
    """A run's plan, if it has been made."""
    return session.exec(select(Retrieval).where(Retrieval.id == retrieval_id)).one_or_none()


def end_retrieval(session: Session, retrieval_id: str) -> None:
    """Note that a run is over."""
    session.connection().execute(
        update(Retrieval)
        .where(col(Retrieval.id) == retrieval_id)
        .values(ended_at=datetime.now(UTC))
    )


def close(
    session: Session,
    retrieval_id: str,
    folder_id: str,
    owner: str,
    account_id: str,
    error: Failure | None = None,
) -> None:
    """A run is over: free its folder and write the end into the timeline."""
    end_retrieval(session, retrieval_id)
    release_folder(session, folder_id, owner)
    record(
        session,
        "retrieval_failed" if error else "retrieval_completed",
        account_id=account_id,
        error_type=error.type if error else None,
        retrieval=retrieval_id,
        explanation=error.explanation if error else None,
    )


def retrieval(session: Session, retrieval_id: str) -> Retrieval:
    """A run's plan."""
    row = find_retrieval(session, retrieval_id)
    if row is None:
        raise ConnectorError(ErrorType.MESSAGE_NOT_FOUND, "the retrieval is not in the store")
    return row


def add_batch(
    session: Session,
    *,
    batch_id: str,
    plan: Retrieval,
    number: int,
    workflow_id: str,
    items: Sequence[dict[str, Any]],
) -> None:
    """Write a batch with its items (the columns of ``BatchItem``); one that is there stands."""
    row = CallbackDelivery(
        id=batch_id,
        retrieval_id=plan.id,
        folder_id=plan.folder_id,
        consumer=plan.consumer,
        number=number,
        state=STORED,
        workflow_id=workflow_id,
        created_at=datetime.now(UTC),
    )
    if not insert_missing(session, CallbackDelivery, [row.model_dump()]):
        return
    tally(session, BATCHES, state=STORED)
    if items:
        session.connection().execute(
            insert(BatchItem), [{"batch_id": batch_id, **item} for item in items]
        )


class Item(NamedTuple):
    """A UID of a batch, as in ``BatchItem``."""

    uid: int
    message_id: str | None
    known: bool
    skipped: bool


def items(session: Session, batch_id: str) -> list[Item]:
    """The items of a batch in delivery order."""
    # Columns, not entities: a batch is read several times, and objects cost ten times as much.
    rows = session.exec(
        select(BatchItem.uid, BatchItem.message_id, BatchItem.known, BatchItem.skipped)
        .where(BatchItem.batch_id == batch_id)
        .order_by(col(BatchItem.position))
    )
    return [Item(*row) for row in rows]


def acknowledged_by(session: Session, consumer: str, message_ids: Iterable[str]) -> set[str]:
    """Which of these mails the consumer has already taken over."""
    return set(
        session.exec(
            select(Acknowledgement.message_id).where(
                Acknowledgement.consumer == consumer,
                col(Acknowledgement.message_id).in_(list(message_ids)),
            )
        )
    )


def told(session: Session, plan: Retrieval, message_ids: Iterable[str]) -> set[str]:
    """Which of these mails an earlier batch of the run tells, whether or not it has been told.

    A folder may hold the same mail twice, and batches are fetched ahead of their callbacks.
    """
    found = session.exec(
        select(BatchItem.message_id)
        .join(CallbackDelivery, col(CallbackDelivery.id) == col(BatchItem.batch_id))
        .where(
            CallbackDelivery.retrieval_id == plan.id,
            col(BatchItem.message_id).in_(list(message_ids)),
        )
    )
    return {message_id for message_id in found if message_id is not None}


def acknowledge(session: Session, batch_id: str, account_id: str) -> None:
    """The callback has completed: from here on its mails are the consumer's."""
    row = session.exec(
        select(CallbackDelivery).where(CallbackDelivery.id == batch_id).with_for_update()
    ).one()
    if row.state == ABANDONED:
        raise _lost()  # its mails went to a later run, in a batch of that run
    if row.state != STORED:
        return
    now = datetime.now(UTC)
    row.state, row.acknowledged_at = ACKNOWLEDGED, now
    session.add(row)
    tally(session, BATCHES, state=ACKNOWLEDGED)
    taken = {i.message_id for i in items(session, batch_id) if i.message_id}
    new = sorted(taken - acknowledged_by(session, row.consumer, taken))
    # The same mail may lie in another folder, whose batch is acknowledged at this moment.
    insert_missing(
        session,
        Acknowledgement,
        [{"consumer": row.consumer, "message_id": m, "at": now} for m in new],
    )
    record(session, "batch_acknowledged", account_id=account_id, batch=batch_id, mails=len(new))


def unhandled_uids(session: Session, plan: Retrieval, batch_id: str) -> list[int]:
    """UIDs of an acknowledged batch that are still to be removed or moved on the server."""
    return _uids(session, plan, batch_id, col(Location.handled_at).is_(None))


def handled(session: Session, plan: Retrieval, batch_id: str) -> int:
    """How many mails of a batch have been removed or moved."""
    return len(_uids(session, plan, batch_id, col(Location.handled_at).is_not(None)))


def _uids(
    session: Session, plan: Retrieval, batch_id: str, condition: ColumnElement[bool]
) -> list[int]:
    return list(
        session.exec(
            select(Location.uid)
            .join(BatchItem, col(BatchItem.uid) == col(Location.uid))
            .where(
                BatchItem.batch_id == batch_id,
                col(BatchItem.message_id).is_not(None),
                Location.folder_id == plan.folder_id,
                Location.uid_validity == plan.uid_validity,
                condition,
            )
            .order_by(col(Location.uid))
        )
    )


def mark_handled(session: Session, plan: Retrieval, uids: Sequence[int]) -> None:
    """Commit that these UIDs are gone from the folder."""
    session.connection().execute(
        update(Location)
        .where(
            col(Location.folder_id) == plan.folder_id,
            col(Location.uid_validity) == plan.uid_validity,
            col(Location.uid).in_(list(uids)),
        )
        .values(handled_at=datetime.now(UTC))
    )


def settle(session: Session, plan: Retrieval, batch_id: str, account_id: str) -> None:
    """Advance the cursor over an acknowledged batch.

    The last step: a crash before it repeats, never skips.
    """
    row = session.exec(
        select(CallbackDelivery).where(CallbackDelivery.id == batch_id).with_for_update()
    ).one()
    if row.state != ACKNOWLEDGED:
        return
    if not plan.rewound:
        _advance(session, plan, from_uids(i.uid for i in items(session, batch_id)))
    now = datetime.now(UTC)
    row.state, row.settled_at = SETTLED, now
    session.add(row)
    tally(session, BATCHES, state=SETTLED)
    tally(session, BATCH_DURATION, (now - row.created_at).total_seconds())
    record(session, "batch_settled", account_id=account_id, batch=batch_id)


def abandon(session: Session, batch_id: str) -> None:
    """A batch whose callback never completed; its mails will come again in another one."""
    result: CursorResult[Any] = session.connection().execute(
        update(CallbackDelivery)
        .where(col(CallbackDelivery.id) == batch_id, col(CallbackDelivery.state) == STORED)
        .values(state=ABANDONED)
    )
    if result.rowcount:
        tally(session, BATCHES, state=ABANDONED)


def _cursor(session: Session, folder_id: str, consumer: str) -> Cursor | None:
    return session.exec(
        select(Cursor)
        .where(Cursor.folder_id == folder_id, Cursor.consumer == consumer)
        .with_for_update()
    ).one_or_none()


def _advance(session: Session, plan: Retrieval, done: Sequence[Range]) -> None:
    cursor = _cursor(session, plan.folder_id, plan.consumer)
    if cursor is None:
        cursor = Cursor(
            folder_id=plan.folder_id,
            consumer=plan.consumer,
            uid_validity=plan.uid_validity,
            uid_next=1,
            holes=[],
        )
    elif cursor.uid_validity != plan.uid_validity:
        # The server renumbered the folder: what was done under the old numbers says nothing.
        cursor.uid_validity, cursor.uid_next, cursor.holes = plan.uid_validity, 1, []
    if done:
        uid_next = max(cursor.uid_next, done[-1][1] + 1)
        open_ranges = as_ranges(cursor.holes)
        if uid_next > cursor.uid_next:
            open_ranges.append((cursor.uid_next, uid_next - 1))
        cursor.uid_next = uid_next
        cursor.holes = [list(r) for r in subtract(open_ranges, done)]
    session.add(cursor)
