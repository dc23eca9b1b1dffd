"""Replication in the store: cursors with holes, batches, and the lease of a folder."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import select

from activities.store import mailboxes
from activities.store.engine import Database
from activities.store.mailboxes import LAST_UID, Lease
from models.errors import ConnectorError, ErrorType
from models.mailbox import RetrievalOptions
from models.tables import Acknowledgement, Cursor, Folder, Retrieval
from models.uid_set import Range, as_ranges, expand, from_uids
from tests.unit.store_kit import account_id, database, received

__all__ = ["account_id", "database"]

VALIDITY = 7


class Inbox:
    """A folder of an account, and what a run does to it."""

    def __init__(self, database: Database, account_id: str) -> None:
        self.database = database
        self.account_id = account_id
        with database.write() as session:
            self.id = mailboxes.ensure_folder(session, account_id, f"INBOX {uuid.uuid4()}").id

    def plan(
        self, uids: Sequence[int], *, consumer: str = "default", validity: int = VALIDITY
    ) -> Retrieval:
        retrieval_id = str(uuid.uuid4())
        with self.database.write() as session:
            mailboxes.add_retrieval(
                session,
                retrieval_id=retrieval_id,
                folder_id=self.id,
                consumer=consumer,
                owner="run",
                uid_validity=validity,
                options=RetrievalOptions(),
                uids=from_uids(uids),
                total=len(uids),
            )
            return mailboxes.retrieval(session, retrieval_id)

    def batch(
        self,
        plan: Retrieval,
        uids: Sequence[int],
        *,
        number: int = 0,
        gone: Sequence[int] = (),
    ) -> str:
        """Store a batch of mails; those ``gone`` were not on the server any more."""
        there = [uid for uid in uids if uid not in gone]
        placed = received(self.database, self.account_id, self.id, plan.uid_validity, there)
        batch_id = str(uuid.uuid4())
        with self.database.write() as session:
            mailboxes.add_batch(
                session,
                batch_id=batch_id,
                plan=plan,
                number=number,
                workflow_id=f"callback/{batch_id}",
                items=[
                    {
                        "position": position,
                        "uid": uid,
                        "message_id": placed.get(uid),
                        "known": False,
                        "skipped": False,
                    }
                    for position, uid in enumerate(uids)
                ],
            )
        return batch_id

    def acknowledge(self, batch_id: str) -> None:
        with self.database.write() as session:
            mailboxes.acknowledge(session, batch_id, self.account_id)

    def settle(self, plan: Retrieval, batch_id: str) -> None:
        with self.database.write() as session:
            mailboxes.settle(session, plan, batch_id, self.account_id)

    def finish(self, uids: Sequence[int], **options: object) -> str:
        """Deliver, acknowledge and settle a batch."""
        plan = self.plan(uids, **options)  # type: ignore[arg-type]
        batch_id = self.batch(plan, uids)
        self.acknowledge(batch_id)
        self.settle(plan, batch_id)
        return batch_id

    def wanted(
        self, consumer: str = "default", *, validity: int = VALIDITY, without: Sequence[str] = ()
    ) -> list[Range]:
        with self.database.read() as session:
            return mailboxes.wanted(session, self.id, consumer, validity, without=without)

    def take(self, owner: str, dead: str | None = None) -> bool:
        with self.database.write() as session:
            folder = session.exec(select(Folder).where(Folder.id == self.id)).one()
            return mailboxes.take_folder(session, folder, owner, dead)

    def release(self, owner: str) -> None:
        with self.database.write() as session:
            mailboxes.release_folder(session, self.id, owner)

    def begin(self, owner: str) -> Lease:
        with self.database.write() as session:
            return mailboxes.begin_step(session, self.id, owner)

    def check(self, lease: Lease) -> None:
        with self.database.read() as session:
            mailboxes.check_lease(session, lease)

    @property
    def row(self) -> Folder:
        with self.database.read() as session:
            return session.exec(select(Folder).where(Folder.id == self.id)).one()


@pytest.fixture
def inbox(database: Database, account_id: str) -> Inbox:
    return Inbox(database, account_id)


class TestCursor:
    def test_everything_is_wanted_at_first(self, inbox: Inbox) -> None:
        assert inbox.wanted() == [(1, LAST_UID)]

    def test_the_latest_leave_one_hole(self, inbox: Inbox) -> None:
        inbox.finish([100, 99, 98])
        assert inbox.wanted() == [(1, 97), (101, LAST_UID)]
        # Below the cursor a hole is filled from its upper end, from its lower end, and split.
        inbox.finish([97])
        inbox.finish([1, 2])
        inbox.finish([50])
        assert inbox.wanted() == [(3, 49), (51, 96), (101, LAST_UID)]
        inbox.finish(list(range(3, 97)))
        assert inbox.wanted() == [(101, LAST_UID)]

    def test_a_gap_above_the_cursor_is_a_hole(self, inbox: Inbox) -> None:
        inbox.finish([1, 2])
        inbox.finish([9])
        assert inbox.wanted() == [(3, 8), (10, LAST_UID)]

    def test_mails_that_were_gone_are_done(self, inbox: Inbox) -> None:
        plan = inbox.plan([1, 2, 3])
        batch = inbox.batch(plan, [1, 2, 3], gone=[2])
        inbox.acknowledge(batch)
        inbox.settle(plan, batch)
        assert inbox.wanted() == [(4, LAST_UID)]

    def test_nothing_moves_before_the_batch_is_settled(self, inbox: Inbox) -> None:
        plan = inbox.plan([1, 2, 3])
        batch = inbox.batch(plan, [1, 2, 3])
        assert inbox.wanted() == [(1, LAST_UID)]
        inbox.acknowledge(batch)
        assert inbox.wanted() == [(1, LAST_UID)]
        # A new run leaves out what only waits to be settled.
        assert inbox.wanted(without=[batch]) == [(4, LAST_UID)]
        assert inbox.wanted(without=[batch], validity=VALIDITY + 1) == [(1, LAST_UID)]

    def test_settling_twice_is_settling_once(self, inbox: Inbox) -> None:
        plan = inbox.plan([1, 2])
        first = inbox.batch(plan, [1, 2])
        inbox.acknowledge(first)
        inbox.settle(plan, first)
        inbox.settle(plan, first)
        inbox.acknowledge(first)
        assert inbox.wanted() == [(3, LAST_UID)]

    def test_each_consumer_has_its_own(self, inbox: Inbox) -> None:
        inbox.finish([1, 2])
        assert inbox.wanted("archive") == [(1, LAST_UID)]
        inbox.finish([2], consumer="archive")
        assert inbox.wanted("archive") == [(1, 1), (3, LAST_UID)]
        assert inbox.wanted() == [(3, LAST_UID)]

    def test_renumbering_starts_again(self, inbox: Inbox) -> None:
        inbox.finish([1, 2, 9])
        assert inbox.wanted(validity=8) == [(1, LAST_UID)]
        inbox.finish([1], validity=8)
        assert inbox.wanted(validity=8) == [(2, LAST_UID)]
        with inbox.database.read() as session:
            cursor = session.exec(select(Cursor).where(Cursor.folder_id == inbox.id)).one()
            assert (cursor.uid_validity, cursor.uid_next, cursor.holes) == (8, 2, [])

    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.sets(st.integers(1, 40), min_size=1, max_size=10), max_size=6))
    def test_done_and_wanted_are_all_there_is(
        self, database: Database, account_id: str, batches: list[set[int]]
    ) -> None:
        inbox = Inbox(database, account_id)
        done: set[int] = set()
        for batch in batches:
            new = sorted(batch - done)
            if not new:
                continue
            inbox.finish(new)
            done |= set(new)
        (*holes, (beyond, last)) = inbox.wanted()
        assert last == LAST_UID
        assert beyond == max(done, default=0) + 1
        assert set(expand(holes)) == set(range(1, beyond)) - done
        assert as_ranges([list(r) for r in holes]) == from_uids(expand(holes))


class TestBatches:
    def test_states(self, inbox: Inbox) -> None:
        plan = inbox.plan([1, 2])
        kept, dropped = inbox.batch(plan, [1]), inbox.batch(plan, [2], number=1)
        with inbox.database.read() as session:
            unfinished = mailboxes.unfinished(session, inbox.id, "default")
            assert [b.id for b in unfinished] == [kept, dropped]
            assert not mailboxes.unfinished(session, inbox.id, "archive")
        inbox.acknowledge(kept)
        for batch in (kept, dropped):
            with inbox.database.write() as session:
                mailboxes.abandon(session, batch)
        with inbox.database.read() as session:
            # What is acknowledged cannot be abandoned.
            assert [b.id for b in mailboxes.unfinished(session, inbox.id, "default")] == [kept]

    def test_acknowledging_is_once_for_each_mail(self, inbox: Inbox) -> None:
        first = inbox.finish([1, 2])
        again = inbox.finish([1, 2, 3], validity=8)
        with inbox.database.read() as session:
            mails = {i.message_id for b in (first, again) for i in mailboxes.items(session, b)}
            rows = session.exec(select(Acknowledgement)).all()
            taken = {r.message_id for r in rows} & {m for m in mails if m}
            assert len(taken) == 3
            assert mailboxes.acknowledged_by(session, "default", [m for m in mails if m]) == taken
            assert not mailboxes.acknowledged_by(session, "archive", [m for m in mails if m])

    def test_items_are_in_the_order_of_delivery(self, inbox: Inbox) -> None:
        plan = inbox.plan([5, 9, 7])
        batch = inbox.batch(plan, [9, 5, 7])
        with inbox.database.read() as session:
            assert [i.uid for i in mailboxes.items(session, batch)] == [9, 5, 7]

    def test_what_is_handled_is_not_handled_again(self, inbox: Inbox) -> None:
        plan = inbox.plan([1, 2, 3, 4])
        batch = inbox.batch(plan, [1, 2, 3, 4], gone=[3])
        with inbox.database.write() as session:
            assert mailboxes.unhandled_uids(session, plan, batch) == [1, 2, 4]
            mailboxes.mark_handled(session, plan, [1, 4])
        with inbox.database.read() as session:
            assert mailboxes.unhandled_uids(session, plan, batch) == [2]

    def test_a_folder_is_found_again(self, inbox: Inbox) -> None:
        with inbox.database.write() as session:
            name = inbox.row.name
            assert mailboxes.ensure_folder(session, inbox.account_id, name).id == inbox.id
            assert mailboxes.account_of(session, inbox.id) == inbox.account_id


class TestLease:
    def test_one_at_a_time(self, inbox: Inbox) -> None:
        assert inbox.take("a")
        assert inbox.take("a")
        assert not inbox.take("b")
        assert not inbox.take("b", dead="c")
        assert inbox.row.lease_owner == "a"

    def test_a_dead_owner_is_replaced(self, inbox: Inbox) -> None:
        inbox.take("a")
        lease = inbox.begin("a")
        inbox.check(lease)
        assert inbox.take("b", dead="a")
        assert_lost(inbox.check, lease)
        assert_lost(inbox.begin, "a")
        inbox.check(inbox.begin("b"))

    def test_a_frozen_step_is_overtaken(self, inbox: Inbox) -> None:
        inbox.take("a")
        frozen = inbox.begin("a")
        again = inbox.begin("a")
        assert again.epoch > frozen.epoch
        with pytest.raises(ConnectorError) as caught:  # temporary: it may be the one in use
            inbox.check(frozen)
        assert caught.value.type is ErrorType.MAILBOX_BUSY
        inbox.check(again)

    def test_releasing(self, inbox: Inbox) -> None:
        inbox.take("a")
        lease = inbox.begin("a")
        inbox.release("b")
        inbox.check(lease)
        inbox.release("a")
        assert_lost(inbox.check, lease)
        assert inbox.row.lease_owner is None
        assert inbox.take("b")

    def test_the_epoch_never_comes_back(self, inbox: Inbox) -> None:
        seen = [inbox.row.lease_epoch]
        for owner in ("a", "b", "a"):
            inbox.take(owner)
            seen.append(inbox.begin(owner).epoch)
            inbox.release(owner)
            seen.append(inbox.row.lease_epoch)
        assert seen == sorted(set(seen))


def assert_lost(action: object, *arguments: object) -> None:
    assert callable(action)
    with pytest.raises(ConnectorError) as caught:
        action(*arguments)
    assert caught.value.type is ErrorType.LEASE_LOST
