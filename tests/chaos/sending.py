"""Mails sent while workers die, judged by what the SMTP server took."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Sequence
from uuid import uuid4

from temporalio.client import Client, WorkflowFailureError

from activities.store.accounts import Secrets
from models.account import AccountSettings, OutgoingServer, Security, UnknownPolicy
from models.account import LoginMethod as Login
from models.delivery import SendEmailInput, SendEmailResult
from models.names import WorkflowType
from tests.chaos.control import Action
from tests.chaos.dealing import deal
from tests.chaos.harness import Blow, Restart, World
from tests.chaos.judging import Mail, SendFigures, judge
from tests.chaos.workflows import run_workflow

REFUSED = "refused@chaos.test"


def smtp_options(delay_ms: str = "50:500") -> list[str]:
    """Of the SMTP server: slow replies make the dangerous part long, a few faults make retries."""
    faults = ("mail:4xx:0.03", "data:4xx:0.02", "body:rst:0.01")
    return [
        *("--delay-ms", delay_ms, "--recipient", f"{REFUSED}=550"),
        *(word for fault in faults for word in ("--fault", fault)),
    ]


_LARGE = 300_000
_DRAIN_SECONDS = 900
"""More than the longest pause of a workflow that watches another one's mail."""
_PATIENCE_SECONDS = 60


def _add_account(world: World, name: str, max_connections: int | None) -> None:
    settings = AccountSettings(
        name=name,
        email_address="sender@chaos.test",
        outgoing=OutgoingServer(
            host="127.0.0.1",
            port=world.smtp.port,
            security=Security.NONE,
            login=Login.NONE,
        ),
        max_connections=max_connections,
    )
    with world.store.database.write() as session:
        world.store.accounts.add(session, name, settings, Secrets())


class Sending:
    """A load of mails with distinct recipients.

    Args:
        world: Where they are sent.
        client: Starts the workflows.
        queued: Their workflows only queue them.
        accounts: How many accounts send them, in turn.
        max_connections: Of each account.
    """

    def __init__(
        self,
        world: World,
        client: Client,
        *,
        queued: bool = False,
        accounts: int = 1,
        max_connections: int | None = None,
    ) -> None:
        self.mails: list[Mail] = []
        self._world = world
        self._client = client
        self._queued = queued
        self._run = uuid4().hex[:8]
        self.accounts = [f"{self._run}.{number}" for number in range(accounts)]
        for account in self.accounts:
            _add_account(world, account, max_connections)
        self._tasks: dict[asyncio.Task[None], Mail] = {}

    def submit(
        self, number: int, policy: UnknownPolicy | None = None, *, may_repeat: bool = False
    ) -> Mail:
        """Hand one mail in; now and then large, to several, or twice with one key."""
        policy = policy or tuple(UnknownPolicy)[number % len(UnknownPolicy)]
        count = 3 if number % 7 == 3 else 1
        recipients = tuple(f"{self._run}.{number}.{i}@chaos.test" for i in range(count))
        mail = Mail(number, policy, recipients)
        self.mails.append(mail)
        twice = may_repeat and number % 11 == 5
        key = f"{self._run}.{number}" if twice else None
        request = self._request(mail, key)
        for copy in range(2 if twice else 1):
            name = self.workflow_id(number, copy)
            self._tasks[asyncio.create_task(self._send(mail, request, name), name=name)] = mail
        return mail

    def workflow_id(self, number: int, copy: int = 0) -> str:
        """Id of the workflow that sends a mail."""
        return f"chaos-send/{self._run}/{number}/{copy}"

    @property
    def running(self) -> int:
        """How many workflows have not ended."""
        return sum(not task.done() for task in self._tasks)

    async def drained(self) -> None:
        """Wait until every workflow has ended; one that does not has failed its mail."""
        _, stuck = await asyncio.wait(self._tasks, timeout=_DRAIN_SECONDS)
        for task in stuck:
            self._tasks.pop(task).failures.append(f"{task.get_name()}: still running")
            task.cancel()
        await asyncio.gather(*self._tasks)

    async def _send(self, mail: Mail, request: SendEmailInput, workflow_id: str) -> None:
        try:
            result = await run_workflow(
                self._client, WorkflowType.SEND_EMAIL, request, workflow_id, SendEmailResult
            )
            mail.results.append(result)
        except WorkflowFailureError as error:
            mail.failures.append(f"{workflow_id}: {error.cause!r}")

    def _request(self, mail: Mail, key: str | None) -> SendEmailInput:
        to = [*mail.recipients, REFUSED] if mail.number % 13 == 7 else list(mail.recipients)
        attachments: list[dict[str, str]] = []
        if mail.number % 17 == 4:
            content = base64.b64encode(os.urandom(_LARGE)).decode()
            attachments.append({"name": "large.bin", "content": content})
        return SendEmailInput.model_validate(
            {
                "account": self.accounts[mail.number % len(self.accounts)],
                "queued": self._queued,
                "message": {
                    "to": to,
                    "subject": f"mail {mail.number}",
                    "content": f"<p>mail <b>{mail.number}</b></p>" + "<p>.</p>\n" * 200,
                    "attachments": attachments,
                },
                "idempotency_key": key,
                "unknown_policy": mail.policy,
            }
        )


async def freeze_one(
    world: World, client: Client, point: str, policy: UnknownPolicy
) -> SendFigures:
    """Freeze a worker while it sends a mail, until another one is done with it; then thaw it."""
    load = Sending(world, client)
    async with world.resurrection():
        freeze = Blow(point, Action.STOP)
        blow = asyncio.create_task(world.strike(freeze, seconds=_PATIENCE_SECONDS))
        await asyncio.sleep(0.1)
        load.submit(1, policy)
        crash = await blow
        try:
            await load.drained()
        finally:
            if crash is not None:
                world.thaw(crash)
        await asyncio.sleep(world.settings.heartbeat_timeout_seconds * 2)
    figures = judge(world, load.mails)
    figures.freezes, figures.missed = int(crash is not None), [] if crash else [point]
    return figures


async def send_under_blows(
    world: World, client: Client, mails: int, plan: Sequence[Blow | Restart]
) -> SendFigures:
    """Send ``mails`` mails, a few for each blow, and judge."""
    load = Sending(world, client)

    def submit(position: int) -> None:
        for number in range(len(load.mails), mails * (position + 1) // len(plan)):
            # Whoever watches a mail of another workflow looks ever more seldom: not at the end.
            load.submit(number, may_repeat=number < mails // 2)

    async with world.resurrection():
        dealt = await deal(world, plan, before=submit)
        await load.drained()
    figures = judge(world, load.mails)
    dealt.enter(figures)
    return figures
