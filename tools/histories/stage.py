"""What the cases are played on: real servers, a store, our worker and a consumer's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from pydantic import SecretStr
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.providers.registry import PROFILES, Providers
from activities.store.accounts import Secrets
from activities.store.assembly import Store
from models.account import AccountSettings
from models.names import Query, TaskQueue
from models.settings import Settings
from tools.servers.dovecot import Dovecot
from tools.servers.postfix import Postfix
from tools.servers.process import LOOPBACK
from worker import running

CONSUMER = "consumer"
IMPATIENT = Providers(replace(profile, sent_visible_seconds=0.5) for profile in PROFILES)
"""Providers whose Sent folders show a mail at once."""
Run = WorkflowHandle[Any, Any]


@workflow.defn(name="Take")
class Take:
    """A callback that takes what it is given."""

    @workflow.run
    async def run(self, _event: dict[str, Any]) -> None:
        """Complete."""


@workflow.defn(name="Refuse")
class Refuse:
    """A callback that fails."""

    @workflow.run
    async def run(self, _event: dict[str, Any]) -> None:
        """Fail."""
        raise ApplicationError("no", type="Refused")


@workflow.defn(name="Hang")
class Hang:
    """A callback that never ends by itself."""

    @workflow.run
    async def run(self, _event: dict[str, Any]) -> None:
        """Wait for ever."""
        await workflow.wait_condition(lambda: False)


@dataclass
class Stage:
    """Everything that is running, and the cases that are asked for."""

    settings: Settings
    store: Store
    client: Client
    dovecot: Dovecot
    postfix: Postfix
    _worker: AsyncExitStack = field(default_factory=AsyncExitStack)

    def account(self, *, password: str | None = None, **settings: Any) -> tuple[str, str]:
        """Add an account on the real servers, unless told otherwise; returns its name and user."""
        name, user = f"account-{uuid4().hex[:8]}", f"{uuid4().hex[:8]}@example.net"
        described = {
            "name": name,
            "email_address": user,
            "outgoing": {"host": "localhost", "port": self.postfix.smtp_port, "username": user},
            "incoming": {"host": "localhost", "port": self.dovecot.imaps_port, "username": user},
        }
        secret = SecretStr(password or self.dovecot.password)
        with self.store.database.write() as session:
            self.store.accounts.add(
                session,
                str(uuid4()),
                AccountSettings.model_validate(described | settings),
                Secrets(outgoing=secret, incoming=secret),
            )
        return name, user

    def mailbox(self, mails: int, **settings: Any) -> str:
        """Add an account with mails in its inbox; returns its name."""
        name, user = self.account(**settings)
        self.dovecot.create_folder(user, "Done")
        for number in range(mails):
            raw = f"From: a@example.org\r\nTo: {user}\r\nSubject: Mail {number}\r\n\r\nx\r\n"
            self.dovecot.deliver(user, raw.encode())
        return name

    async def start(self, kind: str, request: Any) -> Run:
        """Start a workflow."""
        return await self.client.start_workflow(
            kind, request, id=f"recorded/{uuid4()}", task_queue=TaskQueue.ORCHESTRATION
        )

    async def end(self, kind: str, request: Any) -> Run:
        """Run a workflow to its end, whatever that is."""
        handle = await self.start(kind, request)
        with suppress(WorkflowFailureError):
            await handle.result()
        return handle

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """A worker of ours and one of a consumer."""
        consumer = Worker(
            self.client,
            task_queue=CONSUMER,
            workflows=[Take, Refuse, Hang],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        async with consumer, self._worker:
            await self.replace_worker()
            yield

    async def replace_worker(self) -> None:
        """Stop our worker, whatever it is at, and start another one."""
        await self._worker.aclose()
        worker = running(self.settings, self.store, self.client, providers=IMPATIENT)
        await self._worker.enter_async_context(worker)


Case = Callable[[Stage], Awaitable[Run]]
CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    """Register a case as KIND/NAME."""

    def register(function: Case) -> Case:
        CASES[name] = function
        return function

    return register


def mail(account: str, **message: Any) -> dict[str, Any]:
    """The input of ``SendEmail``."""
    return {"account": account, "message": {"to": "to@example.net", "content": "x"} | message}


def callback(kind: str, **changes: Any) -> dict[str, Any]:
    """A callback to the consumer's worker."""
    return {"workflow": kind, "task_queue": CONSUMER, "max_attempts": 1, **changes}


def plain_server(port: int) -> dict[str, Any]:
    """Settings of an SMTP server without TLS and login."""
    return {"host": LOOPBACK, "port": port, "security": "none", "login": "none"}


async def answered(handle: Run) -> None:
    """Wait until a run has something to say about its progress."""
    while await handle.query(Query.PROGRESS) is None:  # noqa: ASYNC110 - nothing tells us
        await asyncio.sleep(0.05)
