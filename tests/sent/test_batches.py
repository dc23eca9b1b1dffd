"""Many copies and many doubts at once, as who drains the queue has them, against a real Dovecot."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import update
from sqlmodel import col, select

from activities.mail.imap import ImapConnector
from activities.providers.registry import PROFILES, Providers
from activities.sent.copies import SentCopies
from activities.sent.verification import PATIENCE, Verification
from activities.store import ledger, sent_copies
from activities.store.accounts import Secrets
from activities.store.assembly import Store, open_store
from activities.store.ledger import Verdict
from models.account import AccountSettings
from models.delivery import Phase, RecipientState, SentCopy
from models.errors import ConnectorError, ErrorType
from models.settings import Settings
from models.tables import Delivery
from tests.mail.imap_kit import new_user
from tests.stores import Stores
from tests.unit.store_kit import queued
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot
from tools.servers.process import free_port

FILED, FOUND, FAILED, PENDING = (
    SentCopy.FILED,
    SentCopy.FOUND,
    SentCopy.FAILED,
    SentCopy.PENDING,
)


class World:
    """A store, and accounts with mailboxes on Dovecot."""

    def __init__(self, settings: Settings, dovecot: Dovecot) -> None:
        self.store: Store = open_store(settings)
        self.dovecot = dovecot
        self.connector = ImapConnector()
        self.copies = SentCopies(
            self.store.database, self.store.accounts, self.store.content, self.connector
        )
        impatient = Providers(replace(p, sent_visible_seconds=0.2) for p in PROFILES)
        self.verification = Verification(
            self.store.database, self.store.accounts, self.connector, impatient
        )

    def account(self, *, folder: str | None = "Sent", **changes: Any) -> tuple[str, str]:
        """Add an account; returns its id and its user."""
        account_id, user = str(uuid.uuid4()), new_user()
        if folder is not None:
            self.dovecot.create_folder(user, folder)
        server = {"host": "localhost", "port": self.dovecot.imaps_port, "username": user}
        settings = AccountSettings.model_validate(
            {
                "name": account_id,
                "email_address": "sender@example.org",
                "outgoing": {"host": "localhost", "login": "none"},
                "incoming": server | changes,
                "provider": "gmail",
            }
        )
        password = SecretStr(self.dovecot.password)
        with self.store.database.write() as session:
            self.store.accounts.add(session, account_id, settings, Secrets(incoming=password))
        return account_id, user

    def mail(self, account_id: str, outcome: RecipientState) -> str:
        """Put a mail into the queue whose one attempt had this outcome; its copy is due from us."""
        delivery_id = queued(self.store.database, account_id, ["to@example.net"])
        self.change(delivery_id, queued=True, sent_copy=PENDING)
        with self.store.database.write() as session:
            ticket = ledger.begin_attempt(session, delivery_id, str(uuid.uuid4()), "w")
            assert ticket is not None
            ledger.intend_dot(session, ticket, [0])
        with self.store.database.write() as session:
            ledger.end_attempt(session, ticket, {0: Verdict(outcome)}, Phase.REPLY, None)
        return delivery_id

    def change(self, delivery_id: str, **values: object) -> None:
        with self.store.database.write() as session:
            session.connection().execute(
                update(Delivery).where(col(Delivery.id) == delivery_id).values(**values)
            )

    def row(self, delivery_id: str) -> Delivery:
        with self.store.database.read() as session:
            return session.exec(select(Delivery).where(Delivery.id == delivery_id)).one()

    def states(self, *delivery_ids: str) -> list[SentCopy]:
        with self.store.database.read() as session:
            found = sent_copies.states(session, delivery_ids)
        return [found[delivery_id] for delivery_id in delivery_ids]

    def in_sent(self, user: str, folder: str = "Sent") -> int:
        maildir = self.dovecot.maildir(user, folder)
        return sum(len(list((maildir / part).iterdir())) for part in ("new", "cur"))

    def put_into_sent(self, user: str, delivery_id: str) -> None:
        message_id = self.row(delivery_id).message_id
        raw = f"Message-ID: <{message_id}@example.org>\r\nSubject: x\r\n\r\nx\r\n"
        self.dovecot.deliver(user, raw.encode(), "Sent")


@pytest.fixture
def world(tmp_path: Path, stores: Stores, dovecot: Dovecot, test_ca: TestCA) -> Iterator[World]:
    settings = Settings(data_dir=tmp_path, ca_file=test_ca.ca_file, **stores.fresh())
    made = World(settings, dovecot)
    yield made
    made.store.close()


def test_copies_of_several_accounts(world: World) -> None:
    (a, user_a), (b, user_b) = world.account(), world.account()
    mails = [world.mail(account, RecipientState.SENT) for account in (a, b, a)]
    world.mail(a, RecipientState.FAILED)
    world.put_into_sent(user_a, mails[2])
    assert sorted(world.copies.due(a)) == sorted([mails[0], mails[2]])
    assert world.copies.file(mails) == dict(zip(mails, [FILED, FILED, FOUND], strict=True))
    assert (world.in_sent(user_a), world.in_sent(user_b)) == (2, 1)
    assert world.copies.due(a) == world.copies.due(b) == []
    # Again, nothing is due and nobody is asked.
    assert world.copies.file(mails) == dict(zip(mails, [FILED, FILED, FOUND], strict=True))
    assert (world.in_sent(user_a), world.in_sent(user_b)) == (2, 1)


def test_one_account_does_not_keep_another_from_its_copies(world: World) -> None:
    away, good = world.account(port=free_port())[0], world.account()
    without = world.account(folder=None)[0]
    mails = [world.mail(id_, RecipientState.SENT) for id_ in (away, good[0], without)]
    with pytest.raises(ConnectorError) as caught:
        world.copies.file(mails)
    assert caught.value.type is ErrorType.CONNECTION_FAILED
    assert world.states(*mails) == [PENDING, FILED, FAILED]
    assert world.copies.file(mails, last=True)[mails[0]] is FAILED
    assert world.in_sent(good[1]) == 1


def test_a_store_that_is_away_makes_no_copy_fail(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id, user = world.account()
    mail = world.mail(account_id, RecipientState.SENT)

    def away(*_: object) -> None:
        raise ConnectorError(ErrorType.STORE_UNAVAILABLE, "away")

    with monkeypatch.context() as patch:
        patch.setattr(sent_copies, "settle", away)
        with pytest.raises(ConnectorError) as caught:
            world.copies.file([mail], last=True)
        assert caught.value.type is ErrorType.STORE_UNAVAILABLE
    assert world.states(mail) == [PENDING]
    # It was appended before the commit; the next try finds it.
    assert world.copies.file([mail]) == {mail: FOUND}
    assert world.in_sent(user) == 1


def test_content_that_is_damaged_fails_for_its_copy_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id, user = world.account()
    mails = sorted(world.mail(account_id, RecipientState.SENT) for _ in range(3))
    damaged = f"{world.row(mails[1]).message_id}.mail"
    read = world.store.content.read

    def reading(session: Any, key: str) -> Any:
        if key == damaged:
            raise ConnectorError(ErrorType.CONTENT_DAMAGED, "damaged")
        return read(session, key)

    monkeypatch.setattr(world.store.content, "read", reading)
    world.copies.file(mails)
    assert world.states(*mails) == [FILED, FAILED, FILED]
    assert world.in_sent(user) == 2


def test_what_nobody_filed_in_time_is_given_up(world: World) -> None:
    away, good = world.account(port=free_port())[0], world.account()[0]
    mails = [world.mail(id_, RecipientState.SENT) for id_ in (away, good)]
    world.copies.file(mails[1:])
    unsent = world.mail(away, RecipientState.UNKNOWN)
    found = world.copies.give_up([*mails, unsent])
    assert found == {mails[0]: FAILED, mails[1]: FILED, unsent: PENDING}


def test_doubts_are_settled_one_by_one(world: World) -> None:
    account_id, user = world.account()
    found, absent = (world.mail(account_id, RecipientState.UNKNOWN) for _ in range(2))
    world.put_into_sent(user, found)
    assert sorted(world.verification.due(account_id)) == sorted([found, absent])
    assert world.verification.look(found).report.status == "sent"
    first = world.verification.look(absent)
    assert first.report.status == "unknown"
    assert first.look_again_seconds is not None
    assert 0 < first.look_again_seconds <= 0.2
    # Nobody need remember when: it is in its row.
    assert world.verification.due(account_id) == []
    world.change(absent, verify_at=datetime.now(UTC))
    assert world.verification.due(account_id) == [absent]
    second = world.verification.look(absent)
    assert (second.report.status, second.report.open) == ("queued", True)
    assert (second.look_again_seconds, second.held_reason) == (None, None)
    assert world.verification.due(account_id) == []


def test_a_mailbox_that_is_away_is_waited_for_and_not_for_ever(world: World) -> None:
    account_id, _ = world.account(port=free_port())
    mail = world.mail(account_id, RecipientState.UNKNOWN)
    for _ in range(2):
        with pytest.raises(ConnectorError) as caught:
            world.verification.look(mail)
        assert caught.value.type is ErrorType.CONNECTION_FAILED
    row = world.row(mail)
    assert (row.verifications, row.held_reason) == (1, None)
    assert row.verify_at is not None
    world.change(mail, verify_at=datetime.now(UTC) - PATIENCE - timedelta(seconds=1))
    result = world.verification.look(mail)
    assert (result.report.status, result.held_reason) == ("unknown", "ConnectionFailed")
    assert world.verification.look(mail).held_reason == "ConnectionFailed"


def test_no_mailbox_is_asked_where_it_could_prove_nothing(world: World) -> None:
    account_id, _ = world.account(port=free_port())
    mail = world.mail(account_id, RecipientState.UNKNOWN)
    world.change(mail, sent_copy=FILED)
    assert world.verification.look(mail).held_reason == "sent_proves_nothing"
