"""Mails sent while workers die, judged by what the SMTP server took."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlmodel import select
from temporalio.client import Client, WorkflowFailureError

from activities.store.accounts import Secrets
from models.account import AccountSettings, OutgoingServer, Security, UnknownPolicy
from models.account import LoginMethod as Login
from models.delivery import MessageStatus, SendEmailInput, SendEmailResult
from models.names import TaskQueue, WorkflowType
from models.tables import Attempt, Delivery, LogEntry, Message, Recipient
from tests.chaos.control import Action
from tests.chaos.harness import TASK_TIMEOUT, Blow, World

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


@dataclass
class Mail:
    """A mail as it was handed in, and what its workflows said."""

    number: int
    policy: UnknownPolicy
    recipients: tuple[str, ...]
    """Those that the server takes; each belongs to this mail alone."""
    results: list[SendEmailResult] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass
class SendFigures:
    """What came of it. All but the first two have to be 0."""

    mails: int = 0
    kills: int = 0
    lost: int = 0
    duplicates_outside_window: int = 0
    unlabelled: int = 0
    changed_bytes: int = 0
    """Copies of one mail that differ in bytes or Message-ID."""
    duplicates_in_window: int = 0
    """Allowed for ``at_least_once``: at most one per blow within the dangerous part."""
    unknown: int = 0
    """Mails that are labelled unknown; the two below add up to it."""
    unknown_accepted: int = 0
    unknown_not_accepted: int = 0
    blows_in_window: int = 0
    """Attempts that a blow hit between dot_intent and outcome."""
    stalls_in_window: int = 0
    """Attempts taken over there although no blow hit them: their worker was too slow to show that
    it lives, on a machine that has other work. The ledger labels them like the others."""
    findings: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    """Points that nobody came past in time."""

    def wrong(self) -> dict[str, int]:
        """The figures that should be 0 and are not."""
        zero = ("lost", "duplicates_outside_window", "unlabelled", "changed_bytes")
        return {name: n for name in zero if (n := asdict(self)[name])}


def _add_account(world: World, name: str) -> None:
    settings = AccountSettings(
        name=name,
        email_address="sender@chaos.test",
        outgoing=OutgoingServer(
            host="127.0.0.1", port=world.smtp.port, security=Security.NONE, login=Login.NONE
        ),
    )
    with world.store.database.write() as session:
        world.store.accounts.add(session, name, settings, Secrets())


class Sending:
    """A load of mails with distinct recipients."""

    def __init__(self, world: World, client: Client) -> None:
        self.mails: list[Mail] = []
        self._world = world
        self._client = client
        self._run = uuid4().hex[:8]
        _add_account(world, self._run)
        self._tasks: list[asyncio.Task[None]] = []

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
            self._tasks.append(asyncio.create_task(self._send(mail, request, name), name=name))
        return mail

    def workflow_id(self, number: int, copy: int = 0) -> str:
        """Id of the workflow that sends a mail."""
        return f"chaos-send/{self._run}/{number}/{copy}"

    async def drained(self) -> None:
        """Wait until every workflow has ended.

        Raises:
            TimeoutError: Some have not; it names them.
        """
        _, stuck = await asyncio.wait(self._tasks, timeout=_DRAIN_SECONDS)
        for task in stuck:
            task.cancel()
        if stuck:
            raise TimeoutError("still running: " + ", ".join(sorted(t.get_name() for t in stuck)))
        await asyncio.gather(*self._tasks)

    async def _send(self, mail: Mail, request: SendEmailInput, workflow_id: str) -> None:
        handle: Any = await self._client.start_workflow(
            WorkflowType.SEND_EMAIL,
            request,
            id=workflow_id,
            task_queue=TaskQueue.ORCHESTRATION,
            result_type=SendEmailResult,
            task_timeout=TASK_TIMEOUT,
        )
        try:
            mail.results.append(await handle.result())
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
                "account": self._run,
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
    figures = judge(world, load)
    figures.kills, figures.missed = int(crash is not None), [] if crash else [point]
    return figures


async def send_under_blows(
    world: World, client: Client, mails: int, plan: Sequence[Blow]
) -> SendFigures:
    """Send ``mails`` mails, a few for each blow, and judge."""
    load = Sending(world, client)
    missed: list[str] = []
    async with world.resurrection():
        for position, blow in enumerate(plan):
            for number in range(len(load.mails), mails * (position + 1) // len(plan)):
                # Whoever watches a mail of another workflow looks ever more seldom: not at the end.
                load.submit(number, may_repeat=number < mails // 2)
            if await world.strike(blow, seconds=_PATIENCE_SECONDS) is None:
                missed.append(str(blow.point))
        await load.drained()
    figures = judge(world, load)
    figures.kills, figures.missed = len(plan) - len(missed), missed
    return figures


def judge(world: World, load: Sending) -> SendFigures:
    """Compare what was handed in with what the server took and what the ledger says."""
    accepted = _accepted(world.smtp.ledger)
    rows = _rows(world)
    hits = _hits_in_window(world)
    figures = SendFigures(mails=len(load.mails), blows_in_window=sum(hits.values()))
    for message_id, row in rows.items():
        stalls = max(0, _taken_over_in_window(world, message_id) - hits[row.delivery_id])
        figures.stalls_in_window += stalls
        hits[row.delivery_id] += stalls
    for mail in load.mails:
        _judge_mail(mail, accepted, rows, hits, figures)
    return figures


@dataclass(frozen=True)
class _Row:
    """What the ledger says about a mail."""

    delivery_id: str
    status: str
    states: dict[str, str]
    attempts: list[Attempt]


def _judge_mail(
    mail: Mail,
    accepted: dict[str, list[tuple[str, str]]],
    rows: dict[str, _Row],
    hits: Counter[str],
    figures: SendFigures,
) -> None:
    def finding(kind: str, what: str) -> None:
        setattr(figures, kind, getattr(figures, kind) + 1)
        figures.findings.append(f"{kind}: mail {mail.number} ({mail.policy}): {what}")

    for failure in mail.failures:
        finding("lost", f"its workflow failed: {failure}")
    if not mail.results:
        return
    result = mail.results[0]
    row = rows[result.message_id]
    if len({r.message_id for r in mail.results}) > 1:
        finding("unlabelled", "one idempotency key made two mails")
    copies = [copy for address in mail.recipients for copy in accepted[address]]
    if {message_id for message_id, _ in copies} - {result.internet_message_id}:
        finding("changed_bytes", "another Message-ID")
    if len(set(copies)) > 1:
        finding("changed_bytes", f"{len(set(copies))} versions")
    extra = max(len(accepted[address]) for address in mail.recipients) - 1
    if extra > 0:
        allowed = hits[row.delivery_id] if mail.policy is UnknownPolicy.AT_LEAST_ONCE else 0
        figures.duplicates_in_window += min(extra, allowed)
        if extra > allowed:
            finding("duplicates_outside_window", f"{extra + 1} copies, {allowed} allowed")
    for address in mail.recipients:
        _judge_recipient(address, bool(accepted[address]), result, row, finding)
    if result.status is MessageStatus.UNKNOWN:
        figures.unknown += 1
        took = all(accepted[address] for address in mail.recipients)
        figures.unknown_accepted += took
        figures.unknown_not_accepted += not took


def _judge_recipient(
    address: str, took: bool, result: SendEmailResult, row: _Row, finding: Any
) -> None:
    said = next(r.state for r in result.recipients if r.address == address)
    stands = row.states[address]
    if said == "sent" and not took:
        finding("lost", f"{address}: reported as sent, never accepted")
    elif said not in ("sent", "unknown") and not took:
        finding("lost", f"{address}: reported as {said}")
    if said not in ("sent", "unknown") and took:
        finding("unlabelled", f"{address}: accepted, but reported as {said}")
    # Late evidence may settle what was unknown, never the other way round.
    settled = said == "unknown" and stands == ("sent" if took else "failed")
    if stands != said and not settled:
        finding("unlabelled", f"{address}: reported as {said}, the ledger says {stands}")
    open_window = [a for a in row.attempts if a.dot_intent_at and a.outcome == "unknown"]
    if stands == "unknown" and not open_window:
        finding("unlabelled", f"{address}: unknown without an attempt that says why")


def accepted_copies(world: World, address: str) -> int:
    """How many mails to ``address`` the server has accepted."""
    return len(_accepted(world.smtp.ledger)[address])


def _accepted(ledger: Path) -> dict[str, list[tuple[str, str]]]:
    """(Message-ID, sha256) of every copy, by recipient."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for line in ledger.read_text().splitlines():
        entry = json.loads(line)
        for address in entry["rcpts"]:
            found[address].append((entry["message_id"], entry["sha256"]))
    return found


def _rows(world: World) -> dict[str, _Row]:
    with world.store.database.read() as session:
        states: dict[str, dict[str, str]] = defaultdict(dict)
        for recipient in session.exec(select(Recipient)):
            states[recipient.delivery_id][recipient.address] = recipient.state
        attempts: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in session.exec(select(Attempt)):
            attempts[attempt.delivery_id].append(attempt)
        status = {m.id: m.status for m in session.exec(select(Message))}
        return {
            d.message_id: _Row(d.id, status[d.message_id], states[d.id], attempts[d.id])
            for d in session.exec(select(Delivery))
        }


def _taken_over_in_window(world: World, message_id: str) -> int:
    """How many attempts the ledger has labelled unknown when it took them over."""
    with world.store.database.read() as session:
        lost = session.exec(
            select(LogEntry.detail).where(
                LogEntry.message_id == message_id, LogEntry.event == "attempt_lost"
            )
        )
        return sum(detail.get("outcome") == "unknown" for detail in lost)


def _hits_in_window(world: World) -> Counter[str]:
    """How often a blow hit each delivery between the intent and its outcome's commit."""
    marks = world.control.marks()
    ended = {m.attempt: m.at for m in marks if m.event == "end"}
    blows_by_pid: dict[int, list[float]] = defaultdict(list)
    for crash in world.control.crashes():
        blows_by_pid[crash.pid].append(crash.at)
    hits: Counter[str] = Counter()
    for mark in marks:
        if mark.event == "intent":
            end = ended.get(mark.attempt, float("inf"))
            hits[mark.delivery] += any(mark.at <= at <= end for at in blows_by_pid[mark.pid])
    return hits
