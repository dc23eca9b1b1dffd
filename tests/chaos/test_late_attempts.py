"""Attempts to send that were frozen and come late, one by one, on the ledger alone."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.composing import ComposingActivities
from activities.ports import RunState
from activities.store import ledger
from activities.store.accounts import Secrets
from activities.store.assembly import Store, open_store
from activities.store.content import Piece
from activities.store.ledger import AttemptTicket, Verdict
from models.account import AccountSettings, LoginMethod, OutgoingServer
from models.delivery import (
    ComposeInput,
    DeliveryReport,
    MessageStatus,
    Phase,
    RecipientState,
    SendPlan,
)
from models.errors import ConnectorError, ErrorType
from models.ids import chain_of
from models.message import EmailMessage
from models.settings import Settings
from tests.stores import Stores

SENT = Verdict(RecipientState.SENT, 250)
REFUSED = Verdict(RecipientState.FAILED, 550)
DEFERRED = Verdict(RecipientState.DEFERRED, 451)


class _World:
    """A store with one mail; ``states`` are what Temporal says of workflows."""

    def __init__(self, folder: Path, stores: Stores) -> None:
        settings = Settings(data_dir=folder, **stores.fresh())
        self.store: Store = open_store(settings)
        self.states: dict[str, RunState] = {}
        server = OutgoingServer(host="127.0.0.1", port=1, login=LoginMethod.NONE)
        account = AccountSettings(name="a", email_address="a@chaos.test", outgoing=server)
        with self.store.database.write() as session:
            self.store.accounts.add(session, "a", account, Secrets())
        self.composing = ComposingActivities(
            self.store.database,
            self.store.accounts,
            self.store.content,
            self.store.callbacks,
            self,
            settings,
        )
        self.plan = self.compose("one")
        self._number = 0

    def state(self, workflow_id: str, _first_run_id: str | None = None) -> RunState:
        return self.states.get(workflow_id, RunState.MISSING)

    def compose(self, workflow_id: str, content: str = "hello") -> SendPlan:
        request = ComposeInput(
            message_id=f"message-{workflow_id}",
            driver=chain_of(workflow_id, "first"),
            date=datetime.now(UTC),
            account="a",
            message=EmailMessage.model_validate({"to": "b@chaos.test", "content": content}),
            idempotency_key="key",
        )
        return ActivityEnvironment().run(self.composing.compose_message, request)

    def begin(self, epoch: int | None) -> AttemptTicket:
        self._number += 1
        with self.store.database.write() as session:
            ticket = ledger.begin_attempt(
                session, self.plan.delivery_id, f"attempt-{self._number}", "one", epoch
            )
        assert ticket is not None
        return ticket

    def intend(self, ticket: AttemptTicket) -> None:
        with self.store.database.write() as session:
            ledger.intend_dot(session, ticket, [0])

    def end(self, ticket: AttemptTicket, verdict: Verdict) -> DeliveryReport:
        with self.store.database.write() as session:
            ledger.end_attempt(session, ticket, {0: verdict}, Phase.DONE, None)
        return self.report

    def take_over(self, epoch: int | None, *, resend: bool = False) -> DeliveryReport:
        with self.store.database.write() as session:
            done = ledger.take_over(session, self.plan.delivery_id, "one", epoch)
            if done and resend:
                ledger.reopen_unknown(session, self.plan.delivery_id)
        return self.report

    @property
    def report(self) -> DeliveryReport:
        with self.store.database.read() as session:
            return ledger.report(session, self.plan.delivery_id)


@pytest.fixture
def world(tmp_path: Path, stores: Stores) -> Iterator[_World]:
    world = _World(tmp_path, stores)
    yield world
    world.store.close()


def test_an_attempt_that_comes_late_does_not_get_in_the_way(world: _World):
    known = world.plan.epoch
    # It was frozen before it began, given up, and another one is sending.
    ticket = world.begin(world.take_over(known).epoch)
    with pytest.raises(ConnectorError) as caught:
        world.begin(known)
    assert caught.value.type is ErrorType.LEASE_LOST
    world.intend(ticket)
    assert world.end(ticket, SENT).status is MessageStatus.SENT


def test_a_take_over_that_comes_late_does_not_get_in_the_way(world: _World):
    known = world.plan.epoch
    world.begin(known)
    ticket = world.begin(world.take_over(known).epoch)
    world.intend(ticket)
    assert world.take_over(known, resend=True).status is MessageStatus.QUEUED
    assert world.end(ticket, DEFERRED).status is MessageStatus.QUEUED


def test_a_take_over_can_be_repeated(world: _World):
    world.intend(world.begin(world.plan.epoch))
    first = world.take_over(world.plan.epoch)
    assert first.status is MessageStatus.UNKNOWN
    assert world.take_over(world.plan.epoch) == first


def test_late_word_of_an_acceptance_stops_the_next_copy(world: _World):
    """Policy ``at_least_once``: the frozen attempt had been accepted, and the reply is read now."""
    frozen = world.begin(world.plan.epoch)
    world.intend(frozen)
    report = world.take_over(world.plan.epoch)
    second = world.begin(world.take_over(report.epoch, resend=True).epoch)
    assert world.end(frozen, SENT).status is MessageStatus.SENT
    with pytest.raises(ConnectorError) as caught:
        world.intend(second)
    assert caught.value.type is ErrorType.LEASE_LOST
    assert world.end(second, DEFERRED).status is MessageStatus.SENT


@pytest.mark.parametrize("verdict", [REFUSED, DEFERRED])
def test_a_refusal_of_the_second_copy_does_not_undo_an_acceptance(world: _World, verdict: Verdict):
    frozen = world.begin(world.plan.epoch)
    world.intend(frozen)
    report = world.take_over(world.plan.epoch)
    second = world.begin(world.take_over(report.epoch, resend=True).epoch)
    world.intend(second)
    world.end(frozen, SENT)
    assert world.end(second, verdict).status is MessageStatus.SENT


def test_late_word_opens_nothing_again(world: _World):
    """The workflow has ended with "unknown": nobody would send what is open."""
    frozen = world.begin(world.plan.epoch)
    world.intend(frozen)
    world.take_over(world.plan.epoch)
    assert world.end(frozen, DEFERRED).status is MessageStatus.FAILED


def test_who_adopts_a_mail_shuts_the_old_sender_out(world: _World):
    world.states["one"] = RunState.ENDED
    adopted = world.compose("two")
    assert adopted.driver
    with pytest.raises(ConnectorError) as caught:
        world.begin(world.plan.epoch)
    assert caught.value.type is ErrorType.LEASE_LOST
    world.begin(adopted.epoch)


def test_a_frozen_composition_does_not_change_the_bytes(
    world: _World, monkeypatch: pytest.MonkeyPatch
):
    store = world.composing._content
    prepare = store.prepare
    others: list[SendPlan] = []

    def compose() -> SendPlan:
        message = EmailMessage.model_validate({"to": "b@chaos.test", "content": "x" * 300_000})
        request = ComposeInput(
            message_id="m", driver="w", date=datetime.now(UTC), account="a", message=message
        )
        return ActivityEnvironment().run(world.composing.compose_message, request)

    def frozen_before_it(pieces: Iterable[Piece]) -> list[dict[str, Any]]:
        monkeypatch.undo()
        time.sleep(1.1)  # another Date
        others.append(compose())
        return prepare(pieces)

    monkeypatch.setattr(store, "prepare", frozen_before_it)
    assert compose() == others[0]
    with world.store.database.read() as session:
        _, key = ledger.parcel_of(session, others[0].delivery_id)
        assert world.store.content.read(session, key)[1].endswith(b"\r\n")
