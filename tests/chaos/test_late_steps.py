"""Steps of replication that were frozen and come late, one by one, on the store alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlmodel import Session, select
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.mailbox import MailboxActivities
from activities.ports import Endpoint, FetchedMail, FolderState, RunState
from activities.replication.fetching import Fetching
from activities.replication.opening import Opening
from activities.replication.settling import Settling
from activities.store import mailboxes
from activities.store.accounts import Secrets
from activities.store.assembly import Store, open_store
from models.account import AccountSettings, IncomingServer
from models.errors import ConnectorError, ErrorType
from models.mailbox import (
    BatchInput,
    CloseRetrievalInput,
    Handling,
    OpenRetrievalInput,
    RetrievalOverrides,
    RetrievalPlan,
    SettleBatchInput,
)
from models.settings import Settings
from models.tables import CallbackDelivery, Cursor, Folder
from tests.stores import Stores


class _Mailbox:
    """Six mails; ``hooks`` run in the middle of a step, where another worker takes over."""

    def __init__(self) -> None:
        self.capabilities = frozenset({"MOVE", "UIDPLUS"})
        self.handlings = frozenset(Handling)
        self.left = {uid: b"Subject: %d\r\n\r\nx\r\n" % uid for uid in range(1, 7)}
        self.moves: list[list[int]] = []
        self.hooks: dict[str, Any] = {}

    def _pause(self, where: str) -> None:
        if hook := self.hooks.pop(where, None):
            hook()

    def exists(self, _folder: str) -> bool:
        return True

    def open(self, _folder: str, *, read_only: bool) -> FolderState:
        self._pause("open")
        return FolderState(uid_validity=1, uid_next=7, exists=len(self.left))

    def uids(self, ranges: list[tuple[int, int]]) -> list[int]:
        self._pause("uids")
        return [uid for uid in self.left if any(a <= uid <= b for a, b in ranges)]

    def fetch(self, uids: list[int]) -> Iterator[FetchedMail]:
        mails = [FetchedMail(uid, self.left[uid]) for uid in uids if uid in self.left]
        self._pause("fetch")
        yield from mails

    def move(self, uids: list[int], _target: str) -> None:
        self._pause("move")
        self.moves.append([uid for uid in uids if self.left.pop(uid, None)])


class _World:
    """Replication over a scripted mailbox, with runs of any state."""

    def __init__(self, folder: Path, stores: Stores) -> None:
        self.settings = Settings(data_dir=folder, mailbox_busy_seconds=60, **stores.fresh())
        self.store: Store = open_store(self.settings)
        self.mailbox = _Mailbox()
        self.states: dict[str, RunState] = {}
        server = IncomingServer(host="127.0.0.1", port=1, username="u")
        account = AccountSettings(name="a", email_address="a@chaos.test", incoming=server)
        with self.store.database.write() as session:
            self.store.accounts.add(session, "a", account, Secrets(incoming=SecretStr("p")))
        database, accounts = self.store.database, self.store.accounts
        self.activities = MailboxActivities(
            database,
            accounts,
            self,
            self.settings,
            opening=Opening(database, accounts, self, self, self.settings),
            fetching=Fetching(database, accounts, self.store.content, self),
            settling=Settling(database, accounts, self),
        )

    @contextmanager
    def connect(self, _endpoint: Endpoint) -> Iterator[Any]:
        yield self.mailbox

    def state(self, workflow_id: str, _first_run_id: str | None = None) -> RunState:
        return self.states.get(workflow_id, RunState.MISSING)

    # --- the steps

    def open(self, run: str = "one") -> RetrievalPlan:
        overrides = RetrievalOverrides(
            batch_size=3, number_of_emails=6, handling=Handling.MOVE, move_folder="Done"
        )
        request = OpenRetrievalInput(
            retrieval_id=f"retrieval-{run}",
            owner=f"{run} first",
            account="a",
            consumer="default",
            overrides=overrides,
        )
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, scheduled_time=datetime.now(UTC))
        return environment.run(self.activities.open_retrieval, request)

    def fetch(self, plan: RetrievalPlan, number: int) -> str:
        request = BatchInput(retrieval_id=plan.retrieval_id, number=number)
        return ActivityEnvironment().run(self.activities.fetch_batch, request).batch.batch_id

    def settle(self, plan: RetrievalPlan, batch_id: str) -> int:
        request = SettleBatchInput(batch_id=batch_id, owner=plan.owner)
        return ActivityEnvironment().run(self.activities.settle_batch, request).handled

    def close(self, plan: RetrievalPlan) -> None:
        request = CloseRetrievalInput(
            retrieval_id=plan.retrieval_id,
            owner=plan.owner,
            account_id=plan.account_id,
            folder_id=plan.folder_id,
        )
        ActivityEnvironment().run(self.activities.close_retrieval, request)

    def finish(self, plan: RetrievalPlan) -> int:
        handled = sum(self.settle(plan, batch_id) for batch_id in plan.unsettled)
        for number in range(plan.batches):
            handled += self.settle(plan, self.fetch(plan, number))
        self.close(plan)
        return handled

    def read(self) -> Session:
        return Session(self.store.database.engine)


@pytest.fixture
def world(tmp_path: Path, stores: Stores) -> Iterator[_World]:
    world = _World(tmp_path, stores)
    yield world
    world.store.close()


def _cursor(world: _World) -> tuple[int, list[list[int]]]:
    with world.read() as session:
        cursor = session.exec(select(Cursor)).one()
        return cursor.uid_next, cursor.holes


def test_undisturbed(world: _World):
    assert world.finish(world.open()) == 6
    assert _cursor(world) == (7, [])


def test_two_attempts_open_one_run(world: _World):
    plans: list[RetrievalPlan] = []
    world.mailbox.hooks["uids"] = lambda: plans.append(world.open())
    assert world.open() == plans[0]
    assert world.finish(plans[0]) == 6


def test_a_late_open_leaves_the_batches_of_its_run_alone(
    world: _World, monkeypatch: pytest.MonkeyPatch
):
    opening = world.activities._opening
    take_folder = opening._take_folder
    others: list[Any] = []

    def frozen_after_it(*args: str) -> str:
        folder_id = take_folder(*args)
        monkeypatch.undo()
        plan = world.open()
        others.extend([plan, world.fetch(plan, 0)])
        return folder_id

    monkeypatch.setattr(opening, "_take_folder", frozen_after_it)
    assert world.open() == others[0]
    assert world.settle(others[0], others[1]) == 3
    with world.read() as session:
        assert session.exec(select(CallbackDelivery)).one().state == "settled"


def test_two_attempts_fetch_one_batch(world: _World):
    plan = world.open()
    world.mailbox.hooks["fetch"] = lambda: world.fetch(plan, 0)
    assert world.settle(plan, world.fetch(plan, 0)) == 3


def test_an_overtaken_step_is_repeated_not_failed(world: _World):
    plan = world.open()
    batch_id = world.fetch(plan, 0)

    def frozen_one_wakes() -> None:
        with world.store.database.write() as session:
            mailboxes.begin_step(session, plan.folder_id, plan.owner)

    world.mailbox.hooks["open"] = frozen_one_wakes
    with pytest.raises(ConnectorError) as caught:
        world.settle(plan, batch_id)
    assert caught.value.type is ErrorType.MAILBOX_BUSY
    assert caught.value.temporary
    assert world.mailbox.moves == []
    assert world.settle(plan, batch_id) == 3


def test_mails_handled_by_a_lost_attempt_are_counted(world: _World):
    plan = world.open()
    batch_id = world.fetch(plan, 0)
    assert world.settle(plan, batch_id) == 3
    assert world.settle(plan, batch_id) == 3
    assert world.mailbox.moves == [[4, 5, 6]] or world.mailbox.moves == [[1, 2, 3]]


def test_a_step_of_a_run_that_was_replaced_changes_nothing(world: _World):
    old = world.open("one")
    batch_id = world.fetch(old, 0)
    world.states["one"] = RunState.ENDED
    new = world.open("two")
    with pytest.raises(ConnectorError) as caught:
        world.settle(old, batch_id)
    assert caught.value.type is ErrorType.LEASE_LOST
    with pytest.raises(ConnectorError) as caught:
        world.fetch(old, 1)
    assert caught.value.type is ErrorType.LEASE_LOST
    assert world.mailbox.moves == []
    assert world.finish(new) == 6
    # The old run is reset when the folder is free again: its batch stays abandoned.
    with pytest.raises(ConnectorError) as caught:
        world.fetch(old, 0)
    assert caught.value.type is ErrorType.LEASE_LOST
    with pytest.raises(ConnectorError) as caught:
        world.settle(old, batch_id)
    assert caught.value.type is ErrorType.LEASE_LOST
    assert _cursor(world) == (7, [])


def test_a_callback_at_work_is_waited_for(world: _World):
    old = world.open("one")
    batch_id = world.fetch(old, 0)
    world.states |= {"one": RunState.ENDED, f"callback/on_email_fetch/{batch_id}": RunState.RUNNING}
    with pytest.raises(ApplicationError) as caught:
        world.open("two")
    assert caught.value.type == ErrorType.MAILBOX_BUSY
    assert not caught.value.non_retryable
    world.states[f"callback/on_email_fetch/{batch_id}"] = RunState.COMPLETED
    new = world.open("two")
    assert (new.unsettled, new.total) == ([batch_id], 3)
    assert world.finish(new) == 6


def test_a_run_that_is_reset_after_its_end_takes_the_folder_again(world: _World):
    plan = world.open()
    world.fetch(plan, 0)
    world.close(plan)
    world.states["one"] = RunState.RUNNING
    assert world.open() == plan
    with world.read() as session:
        assert session.exec(select(Folder)).one().lease_owner == plan.owner
    with pytest.raises(ApplicationError) as caught:
        world.open("two")
    assert caught.value.type == ErrorType.MAILBOX_BUSY
    assert world.finish(plan) == 6
