"""Replication of one mailbox on a real server, driven step by step and broken off anywhere.

What Temporal does otherwise: it runs the steps, repeats one that failed, and knows of each callback
whether it has completed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlmodel import col, select
from temporalio.testing import ActivityEnvironment

from activities.mail.imap import ImapConnector
from activities.mail.incoming import IncomingConnector
from activities.mail.pop3 import Pop3Connector
from activities.mailbox import MailboxActivities
from activities.ports import RunState
from activities.replication.fetching import Fetching
from activities.replication.opening import Opening
from activities.replication.settling import Settling
from activities.store.accounts import Secrets
from activities.store.assembly import Store
from activities.store.uidls import UidlNumbering
from models.account import AccountSettings
from models.callback import CallbackKind
from models.ids import callback_workflow_id
from models.mailbox import (
    BatchInput,
    CloseRetrievalInput,
    OpenRetrievalInput,
    RetrievalOverrides,
    RetrievalPlan,
    SettleBatchInput,
    SettleBatchResult,
)
from models.settings import Settings
from models.tables import ContentRow, Message
from tools.servers.dovecot import Dovecot


class Crash(BaseException):
    """The worker dies here."""


@dataclass
class Source:
    """A protocol on a server."""

    server: Dovecot
    protocol: str = "imap"

    def settings(self, user: str) -> dict[str, Any]:
        """The incoming server of an account."""
        port = self.server.pop3_port if self.protocol == "pop3" else self.server.imap_port
        return {
            "host": self.server.host,
            "port": port,
            "protocol": self.protocol,
            "security": "none",
            "username": user,
        }

    def files(self, user: str, folder: str = "INBOX") -> dict[str, bytes]:
        """Names, with the flags in them, and contents of the mails in a folder.

        A maildir's ``new`` and ``cur`` are one. By POP3, flags do not count: a look moves mails
        over to ``cur``, and Dovecot marks as read what RETR asked for; both are its own doing.
        """
        where = self.server.maildir(user, folder)
        found = [*(where / "new").iterdir(), *(where / "cur").iterdir()]
        names = [file.name.removesuffix(":2,") for file in found]
        if self.protocol == "pop3":
            names = [name.partition(":2,")[0] for name in names]
        contents = [file.read_bytes() for file in found]
        return dict(sorted(zip(names, contents, strict=True)))


@dataclass
class World:
    """An account on a source, whose runs have the given options."""

    store: Store
    settings: Settings
    source: Source
    options: dict[str, Any] = field(default_factory=dict)
    delivered: list[bytes] = field(default_factory=list)
    """What callbacks took over, in order."""
    states: dict[str, RunState] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.user = f"u{uuid4().hex[:12]}"
        self.account = str(uuid4())
        settings = AccountSettings.model_validate(
            {
                "name": self.account,
                "email_address": "a@mail.test",
                "incoming": self.source.settings(self.user),
            }
        )
        secrets = Secrets(incoming=SecretStr(self.source.server.password))
        with self.store.database.write() as session:
            self.store.accounts.add(session, self.account, settings, secrets)
        database, accounts = self.store.database, self.store.accounts
        connector = IncomingConnector(ImapConnector(), Pop3Connector(UidlNumbering(database)))
        self.activities = MailboxActivities(
            database,
            accounts,
            connector,
            self.settings,
            opening=Opening(database, accounts, connector, self, self.settings),
            fetching=Fetching(database, accounts, self.store.content, connector),
            settling=Settling(database, accounts, connector),
        )
        self._run = 0

    def state(self, workflow_id: str, _first_run_id: str | None = None) -> RunState:
        """``Runs``: only callbacks are known to complete; a run that is asked about is over."""
        return self.states.get(workflow_id, RunState.ENDED)

    def deliver(self, *raws: bytes) -> None:
        """Put mails into the inbox."""
        for raw in raws:
            self.source.server.deliver(self.user, raw)

    def open(self) -> RetrievalPlan:
        """Begin a run."""
        request = OpenRetrievalInput(
            retrieval_id=f"{self.account[:30]}-{self._run}",
            owner=f"run-{self._run} first",
            account=self.account,
            consumer="default",
            overrides=RetrievalOverrides.model_validate(self.options),
        )
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, scheduled_time=datetime.now(UTC))
        return environment.run(self.activities.open_retrieval, request)

    def run(self, *, attempts: int = 1) -> int:
        """One run to its end; returns how many mails were handled.

        Args:
            attempts: How often a step is tried that a ``Crash`` breaks off.
        """
        self._run += 1
        plan = self._step(self.open, attempts)
        handled = sum(self._settle(plan, batch_id, attempts) for batch_id in plan.unsettled)
        for number in range(plan.batches):
            batch = self._step(
                lambda n=number: ActivityEnvironment().run(  # type: ignore[misc]
                    self.activities.fetch_batch,
                    BatchInput(retrieval_id=plan.retrieval_id, number=n),
                ),
                attempts,
            ).batch
            callback = callback_workflow_id(CallbackKind.ON_EMAIL_FETCH, batch.batch_id)
            if self.states.get(callback) is not RunState.COMPLETED:
                self.delivered += [self.raw(mail.id) for mail in batch.messages]
                self.states[callback] = RunState.COMPLETED
            handled += self._settle(plan, batch.batch_id, attempts)
        request = CloseRetrievalInput(
            retrieval_id=plan.retrieval_id,
            owner=plan.owner,
            account_id=plan.account_id,
            folder_id=plan.folder_id,
        )
        ActivityEnvironment().run(self.activities.close_retrieval, request)
        return handled

    def _settle(self, plan: RetrievalPlan, batch_id: str, attempts: int) -> int:
        request = SettleBatchInput(batch_id=batch_id, owner=plan.owner)
        settled: SettleBatchResult = self._step(
            lambda: ActivityEnvironment().run(self.activities.settle_batch, request), attempts
        )
        return settled.handled

    @staticmethod
    def _step(step: Callable[[], Any], attempts: int) -> Any:
        for _ in range(attempts - 1):
            try:
                return step()
            except Crash:
                continue
        return step()

    def raw(self, message_id: str) -> bytes:
        """A stored mail."""
        with self.store.database.read() as session:
            return self.store.content.read(session, f"{message_id}.raw")[1]

    def stored(self) -> list[bytes]:
        """All stored mails of the account."""
        with self.store.database.read() as session:
            ids = session.exec(
                select(Message.id)
                .join(ContentRow, col(ContentRow.message_id) == col(Message.id))
                .where(Message.account_id == self.account, ContentRow.kind == "raw")
            ).all()
        return [self.raw(message_id) for message_id in ids]

    def server_state(self) -> list[dict[str, bytes]]:
        """All that a change on the server would show in."""
        folders = ["INBOX", *(["Done"] if self.options.get("move_folder") else [])]
        return [self.source.files(self.user, folder) for folder in folders]


def crash_once(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, call: int) -> list[int]:
    """Die before the given call of a function, once; returns the list of calls seen."""
    original = getattr(module, name)
    calls: list[int] = []

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(len(calls) + 1)
        if len(calls) == call:
            raise Crash
        return original(*arguments, **named)

    monkeypatch.setattr(module, name, counted)
    return calls


def store_settings(folder: Path, **more: Any) -> Settings:
    """Settings that make nobody wait."""
    return Settings(data_dir=folder, mailbox_busy_seconds=60, **more)
