"""Figures are told once, after the commit that makes them true; never for what is rolled back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from sqlmodel import Session

from activities.store import ledger
from activities.store.committer import Committer
from activities.store.engine import Database
from activities.store.ledger import Verdict
from activities.store.migrate import migrate
from activities.store.tallies import tally
from models.delivery import Phase, RecipientState
from models.errors import ConnectorError, ErrorType
from models.metrics import (
    ATTEMPTS,
    COMMIT_GROUP,
    DELIVERIES,
    MAIL_AGE,
    RECIPIENTS,
    REPLICATED_BYTES,
    REPLICATED_MAILS,
    Metric,
)
from tests.unit.store_kit import account_id, queued

__all__ = ["account_id"]


class Heard:
    """What was told (``activities.ports.Metrics``)."""

    def __init__(self) -> None:
        self.added: Counter[tuple[str, ...]] = Counter()
        self.observed: list[tuple[str, float]] = []

    def add(self, metric: Metric, amount: int = 1, **labels: str) -> None:
        self.added[metric.name, *labels.values()] += amount

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        self.observed.append((metric.name, value))

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        raise AssertionError("the store sets no gauges")

    def of(self, metric: Metric) -> dict[str, int]:
        """Counts of a metric by its first label."""
        found: Counter[str] = Counter()
        for (name, *labels), count in self.added.items():
            if name == metric.name:
                found[labels[0]] += count
        return dict(found)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def database(tmp_path: Path, heard: Heard) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'test.db'}", metrics=heard)
    migrate(opened)
    yield opened
    opened.close()


class TestTransactions:
    def test_told_after_the_commit(self, database: Database, heard: Heard) -> None:
        with database.write() as session:
            tally(session, REPLICATED_BYTES, 5)
            tally(session, MAIL_AGE, 1.5)
            assert not heard.added
        assert heard.added == {(REPLICATED_BYTES.name,): 5}
        assert heard.observed == [(MAIL_AGE.name, 1.5)]

    def test_not_told_when_rolled_back(self, database: Database, heard: Heard) -> None:
        def fail() -> None:
            with database.write() as session:
                tally(session, REPLICATED_BYTES, 5)
                raise ConnectorError(ErrorType.LEASE_LOST, "x")

        with pytest.raises(ConnectorError):
            fail()
        assert not heard.added

    async def test_a_write_that_fails_in_a_group_is_not_told(
        self, database: Database, heard: Heard
    ) -> None:
        committer = Committer(database, heard)

        def write(number: int, session: Session) -> None:
            tally(session, REPLICATED_MAILS)
            if number % 3 == 1:
                raise ConnectorError(ErrorType.LEASE_LOST, "x")
            if number % 3 == 2:
                raise ValueError("x")

        results = await asyncio.gather(
            *(committer.commit(partial(write, number)) for number in range(30)),
            return_exceptions=True,
        )
        committer.close()
        assert sum(r is None for r in results) == 10
        assert heard.added == {(REPLICATED_MAILS.name,): 10}
        assert sum(v for name, v in heard.observed if name == COMMIT_GROUP.name) == 30


SENT, FAILED, DEFERRED, UNKNOWN = (
    Verdict(RecipientState.SENT, 250),
    Verdict(RecipientState.FAILED, 550),
    Verdict(RecipientState.DEFERRED, 451),
    Verdict(RecipientState.UNKNOWN),
)


class Mail:
    """A queued mail to three recipients."""

    def __init__(self, database: Database, account_id: str) -> None:
        self._database = database
        self._attempts = 0
        self.id = queued(database, account_id, [f"r{n}@example.net" for n in range(3)])

    def begin(self) -> ledger.AttemptTicket:
        self._attempts += 1
        name = f"{self.id[:50]}.{self._attempts}"
        with self._database.write() as session:
            ticket = ledger.begin_attempt(session, self.id, name, "worker")
        assert ticket
        return ticket

    def intend(self, ticket: ledger.AttemptTicket, accepted: Sequence[int] = (0, 1, 2)) -> None:
        with self._database.write() as session:
            ledger.intend_dot(session, ticket, accepted)

    def end(self, ticket: ledger.AttemptTicket, *verdicts: Verdict) -> None:
        with self._database.write() as session:
            given = dict(zip(range(3), verdicts, strict=False))
            ledger.end_attempt(session, ticket, given, Phase.DONE, None)

    def close(self) -> None:
        with self._database.write() as session:
            ledger.close(session, self.id, None)

    def take_over(self) -> None:
        with self._database.write() as session:
            ledger.take_over(session, self.id, "another")

    def reopen(self) -> None:
        with self._database.write() as session:
            ledger.reopen_unknown(session, self.id)


@pytest.fixture
def mail(database: Database, account_id: str) -> Mail:
    return Mail(database, account_id)


class TestLedger:
    def test_every_end_is_counted_once_however_often_it_is_written(
        self, mail: Mail, heard: Heard
    ) -> None:
        ticket = mail.begin()
        for _ in range(3):
            mail.end(ticket, SENT, FAILED, DEFERRED)
        assert heard.of(RECIPIENTS) == {"sent": 1, "failed": 1}
        assert heard.of(DELIVERIES) == {}  # one is still open
        for _ in range(3):
            mail.close()
        assert heard.of(RECIPIENTS) == {"sent": 1, "failed": 2}
        assert heard.of(DELIVERIES) == {"partially_sent": 1}
        assert heard.of(ATTEMPTS) == {"sent": 1}

    def test_a_lost_attempt_is_labelled_and_counted_once(self, mail: Mail, heard: Heard) -> None:
        mail.intend(mail.begin())
        for _ in range(3):
            mail.take_over()
        mail.close()
        assert heard.of(ATTEMPTS) == {"unknown": 1}
        assert heard.of(RECIPIENTS) == {"unknown": 3}
        assert heard.of(DELIVERIES) == {"unknown": 1}

    def test_one_that_never_came_to_the_dot_is_no_end(self, mail: Mail, heard: Heard) -> None:
        mail.begin()
        mail.take_over()
        assert heard.of(ATTEMPTS) == {"not_sent": 1}
        assert heard.of(RECIPIENTS) == heard.of(DELIVERIES) == {}

    def test_late_evidence_counts_again_as_what_it_became(self, mail: Mail, heard: Heard) -> None:
        ticket = mail.begin()
        mail.intend(ticket)
        mail.take_over()
        mail.end(ticket, SENT, SENT, SENT)
        assert heard.of(ATTEMPTS) == {"unknown": 1, "sent": 1}
        assert heard.of(RECIPIENTS) == {"unknown": 3, "sent": 3}
        assert heard.of(DELIVERIES) == {"unknown": 1, "sent": 1}

    def test_unknown_beside_open_ones_is_counted_when_all_are_settled(
        self, mail: Mail, heard: Heard
    ) -> None:
        ticket = mail.begin()
        mail.intend(ticket, [0])
        mail.end(ticket, UNKNOWN, DEFERRED, DEFERRED)
        assert heard.of(DELIVERIES) == {}
        mail.close()
        assert heard.of(RECIPIENTS) == {"unknown": 1, "failed": 2}
        assert heard.of(DELIVERIES) == {"unknown": 1}

    def test_what_is_sent_again_ends_again(self, mail: Mail, heard: Heard) -> None:
        mail.end(mail.begin(), UNKNOWN, UNKNOWN, UNKNOWN)
        mail.reopen()
        mail.end(mail.begin(), SENT, SENT, SENT)
        assert heard.of(DELIVERIES) == {"unknown": 1, "sent": 1}
        assert heard.of(RECIPIENTS) == {"unknown": 3, "sent": 3}
