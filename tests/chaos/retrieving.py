"""Mailboxes emptied while workers die, judged by what lies on the server and in the store."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import uuid4

from pydantic import SecretStr
from sqlmodel import Session, col, select
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle

from activities.store.accounts import Secrets
from models.account import AccountSettings, IncomingProtocol, IncomingServer, Security
from models.callback import CallbackSpec, PayloadProtection
from models.errors import ConnectorError
from models.mailbox import (
    FetchStrategy,
    Handling,
    RetrieveEmailMessagesInput,
    RetrieveEmailMessagesResult,
)
from models.names import Direction, TaskQueue, WorkflowType
from models.tables import (
    Acknowledgement,
    BatchItem,
    CallbackDelivery,
    ContentRow,
    Cursor,
    Folder,
    Location,
    Message,
)
from tests.chaos import callbacks
from tests.chaos.control import Action
from tests.chaos.harness import Blow, World
from tests.chaos.imap_watch import ImapWatch
from tests.chaos.workflows import TASK_TIMEOUT

TARGET = "Done"
CONSUMER = "default"
_LARGE = 300_000
_STALL_SECONDS = 300
_PATIENCE_SECONDS = 60
_MAX_FAILURES = 20


@dataclass
class RetrieveFigures:
    """What came of it. All but the first two have to be 0."""

    mails: int = 0
    kills: int = 0
    missing: int = 0
    """Mails without a row, or not in the target folder."""
    repeated: int = 0
    """Mails that lie on the server more than once."""
    byte_differences: int = 0
    handled_too_early: int = 0
    """Mails moved before they were stored, delivered and acknowledged; seen by the proxy."""
    wrong_callbacks: int = 0
    """Mails without exactly one completed callback, batches with more than one, mails delivered
    after a callback with them had completed.
    """
    duplicate_rows: int = 0
    wrong_results: int = 0
    """Runs that failed, and counts in results that do not add up."""
    left_behind: int = 0
    """Mails, batches or leases that are unfinished in the end."""
    changes_in_second_run: int = 0
    runs: int = 0
    findings: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    """Points that nobody came past in time."""

    def wrong(self) -> dict[str, int]:
        """The figures that should be 0 and are not."""
        given = ("mails", "kills", "runs", "findings", "missed")
        return {name: n for name, n in asdict(self).items() if name not in given and n}

    def add(self, kind: str, what: str, count: int = 1) -> None:
        """Note something wrong."""
        if count:
            setattr(self, kind, getattr(self, kind) + count)
            self.findings.append(f"{kind}: {what}")


class Mailbox:
    """An account with mails in its INBOX, reached through a watch."""

    def __init__(self, world: World, mails: int) -> None:
        self.name = f"box-{uuid4().hex[:8]}"
        self.results: list[RetrieveEmailMessagesResult] = []
        self.failures: list[str] = []
        self.interrupted = False
        """A run was ended by hand: what it did is in no result."""
        self.sources: dict[str, bytes] = {}
        """What was delivered, by sha256."""
        self.copies: Counter[str] = Counter()
        self.watch = ImapWatch(world.dovecot.imap_port, self._judge, world.random)
        self._world = world
        self._last = b""
        world.dovecot.create_folder(self.name, TARGET)
        self.deliver(mails)

    def deliver(self, mails: int) -> None:
        """Put new mails into INBOX."""
        start = self.copies.total()
        for number in range(start, start + mails):
            # Now and then the same bytes again: two mails, one row.
            raw = self._last = self._last if number % 53 == 52 else _raw(number)
            self._world.dovecot.deliver(self.name, raw)
            digest = hashlib.sha256(raw).hexdigest()
            self.sources[digest] = raw
            self.copies[digest] += 1

    def add_account(self) -> None:
        """Add it to the store; the watch must be listening."""
        settings = AccountSettings(
            name=self.name,
            email_address=f"{self.name}@chaos.test",
            incoming=IncomingServer(
                protocol=IncomingProtocol.IMAP,
                host="127.0.0.1",
                port=self.watch.port,
                security=Security.NONE,
                username=self.name,
            ),
        )
        secrets = Secrets(incoming=SecretStr(self._world.dovecot.password))
        with self._world.store.database.write() as session:
            self._world.store.accounts.add(session, self.name, settings, secrets)

    def request(
        self,
        *,
        number: int,
        batch: int,
        strategy: FetchStrategy = FetchStrategy.OLDEST,
        callback_queue: str = callbacks.QUEUE,
    ) -> RetrieveEmailMessagesInput:
        """Retrieve ``number`` mails in batches of ``batch``, call back, move."""
        return RetrieveEmailMessagesInput(
            account=self.name,
            number_of_emails=number,
            batch_size=batch,
            fetch_strategy=strategy,
            handling=Handling.MOVE,
            move_folder=TARGET,
            on_email_fetch=CallbackSpec(
                workflow=callbacks.TYPE,
                task_queue=callback_queue,
                payloads=PayloadProtection.PLAIN,
                retry_interval_seconds=0.2,
            ),
        )

    def has_moved(self, times: int) -> bool:
        """Whether so many commands have changed something on the server."""
        return len(self.watch.changes()) >= times

    def holds_lease(self, workflow_id: str) -> bool:
        """Whether INBOX is replicated by this workflow now."""
        with self._world.store.database.read() as session:
            folder = session.exec(select(Folder).where(Folder.account_id == self.name)).first()
            return folder is not None and (folder.lease_owner or "").startswith(workflow_id)

    def folder(self, name: str) -> Counter[str]:
        """What lies in a folder on the server: copies by sha256."""
        maildir = self._world.dovecot.maildir(self.name, name)
        files = [file for part in ("new", "cur") for file in (maildir / part).iterdir()]
        return Counter(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)

    def _judge(self, uids: list[int]) -> Iterable[str]:
        """What is wrong with these UIDs leaving INBOX now. Runs while the command waits."""
        told = {m for each in callbacks.delivered(self._world.callback_log) for m in each.messages}
        with self._world.store.database.read() as session:
            for uid in uids:
                wrong = self._judge_uid(session, uid, told)
                if wrong:
                    yield f"UID {uid} of {self.name}: {wrong}"

    def _judge_uid(self, session: Session, uid: int, told: set[str]) -> str | None:
        found = session.exec(
            select(Message)
            .join(Location, col(Location.message_id) == col(Message.id))
            .join(Folder, col(Folder.id) == col(Location.folder_id))
            .where(Folder.account_id == self.name, Folder.name == "INBOX", Location.uid == uid)
        ).one_or_none()
        if found is None:
            return "not stored"
        try:
            self._world.store.content.read(session, f"{found.id}.raw")
        except ConnectorError as error:
            return f"its content: {error}"
        if session.get(Acknowledgement, (CONSUMER, found.id)) is None:
            return "not acknowledged"
        return None if found.id in told else "never delivered to the callback"


def _raw(number: int) -> bytes:
    head = (
        f"From: Ann <ann{number}@chaos.test>\r\nTo: bob@chaos.test\r\nSubject: Mail {number}\r\n"
        f"Message-ID: <{uuid4()}@chaos.test>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n"
        "MIME-Version: 1.0\r\n"
    )
    if number % 25 == 3:  # so large that it goes into the blob store
        text = os.urandom(_LARGE // 2).hex()
        lines = "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))
        return f"{head}Content-Type: text/plain\r\n\r\n{lines}\r\n".encode()
    html = "<p onclick=x>hello <b>you</b></p>" + "<p style='color:red'>y</p>" * (number % 40)
    return f"{head}Content-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n".encode()


@asynccontextmanager
async def mailboxes(world: World, count: int, mails: int) -> AsyncIterator[list[Mailbox]]:
    """So many mailboxes with ``mails`` mails in all."""
    boxes = [Mailbox(world, mails * (n + 1) // count - mails * n // count) for n in range(count)]
    try:
        for box in boxes:
            await box.watch.start()
            box.add_account()
        yield boxes
    finally:
        for box in boxes:
            await box.watch.stop()


Handle = WorkflowHandle[Any, RetrieveEmailMessagesResult]


async def start(client: Client, request: RetrieveEmailMessagesInput) -> Handle:
    """Start a retrieval."""
    handle: Handle = await client.start_workflow(
        WorkflowType.RETRIEVE_EMAIL_MESSAGES,
        request,
        id=f"chaos-retrieve/{uuid4()}",
        task_queue=TaskQueue.ORCHESTRATION,
        result_type=RetrieveEmailMessagesResult,
        task_timeout=TASK_TIMEOUT,
    )
    return handle


async def empty(
    client: Client,
    box: Mailbox,
    *,
    per_run: int,
    batch: int,
    more: Callable[[], bool] = lambda: False,
) -> None:
    """Retrieve until nothing is left; ``more`` is asked then whether new mails should come."""
    while len(box.failures) < _MAX_FAILURES:
        strategy = tuple(FetchStrategy)[len(box.results) % len(FetchStrategy)]
        request = box.request(number=per_run, batch=batch, strategy=strategy)
        handle = await start(client, request)
        try:
            async with asyncio.timeout(_STALL_SECONDS):
                result = await handle.result()
        except WorkflowFailureError as error:
            box.failures.append(f"{box.name} {handle.id}: {error.cause!r}")
            continue
        box.results.append(result)
        if result.batches == 0:
            if not more():
                return
            box.deliver(per_run)


async def retrieve_under_blows(
    world: World, client: Client, mails: int, plan: Sequence[Blow], *, boxes: int = 2
) -> RetrieveFigures:
    """Empty mailboxes with ``mails`` mails while the blows fall; then once more in peace."""
    batch = max(2, mails * 2 // (3 * max(len(plan), 1)))
    left, missed = list(plan), []
    async with mailboxes(world, boxes, mails) as all_boxes:
        async with world.resurrection():
            work = [
                asyncio.create_task(
                    empty(client, box, per_run=batch * 6, batch=batch, more=lambda: bool(left))
                )
                for box in all_boxes
            ]
            while left:
                if await world.strike(left[0], seconds=_PATIENCE_SECONDS) is None:
                    missed.append(str(left[0].point))
                left.pop(0)
            await asyncio.gather(*work)
        figures = await judge(world, client, all_boxes)
    figures.kills, figures.missed = len(plan) - len(missed), missed
    return figures


async def freeze_one(world: World, client: Client, point: str) -> RetrieveFigures:
    """Freeze a worker while it empties a mailbox, until another one is done; then thaw it."""
    async with mailboxes(world, 1, 12) as (box,):
        async with world.resurrection():
            freeze = Blow(point, Action.STOP)
            blow = asyncio.create_task(world.strike(freeze, seconds=_PATIENCE_SECONDS))
            await asyncio.sleep(0.1)
            work = asyncio.create_task(empty(client, box, per_run=12, batch=4))
            crash = await blow
            try:
                await work
            finally:
                if crash is not None:
                    world.thaw(crash)
            await asyncio.sleep(world.settings.heartbeat_timeout_seconds * 2)
        figures = await judge(world, client, [box])
    figures.kills, figures.missed = int(crash is not None), [] if crash else [point]
    return figures


async def judge(world: World, client: Client, boxes: Sequence[Mailbox]) -> RetrieveFigures:
    """Compare what was delivered with the server, the store and the callbacks."""
    figures = RetrieveFigures(mails=sum(b.copies.total() for b in boxes))
    for box in boxes:
        _judge_server(box, figures)
        _judge_store(world, box, figures)
        _judge_results(box, figures)
        for finding in box.watch.findings:
            figures.add("handled_too_early", finding)
        before = len(box.watch.changes())
        await empty(client, box, per_run=1_000_000, batch=100)
        after = box.watch.changes()[before:]
        figures.add("changes_in_second_run", f"{box.name}: {after}", len(after))
        _judge_lease(world, box, figures)
    await _judge_callbacks(world, client, boxes, figures)
    return figures


def _judge_lease(world: World, box: Mailbox, figures: RetrieveFigures) -> None:
    """A late attempt may leave the lease of a run that is over; the next run frees it."""
    with world.store.database.read() as session:
        folder = session.exec(select(Folder).where(Folder.account_id == box.name)).one()
    if folder.lease_owner is not None:
        figures.add("left_behind", f"{box.name}: the lease of {folder.lease_owner}")


def _judge_server(box: Mailbox, figures: RetrieveFigures) -> None:
    moved, left = box.folder(TARGET), box.folder("INBOX")
    figures.add("left_behind", f"{box.name}: in INBOX", left.total())
    gone = box.copies - moved - left
    figures.add("missing", f"{box.name}: from the server", gone.total())
    extra = moved + left - box.copies
    figures.add("repeated", f"{box.name}: on the server", extra.total())


def _judge_store(world: World, box: Mailbox, figures: RetrieveFigures) -> None:
    with world.store.database.read() as session:
        rows = session.exec(
            select(Message).where(
                Message.account_id == box.name, Message.direction == Direction.INCOMING
            )
        ).all()
        by_hash = Counter(row.identity for row in rows)
        figures.add("missing", f"{box.name}: rows", len(box.sources.keys() - by_hash.keys()))
        strange = sum((by_hash - Counter(dict.fromkeys(box.sources, 1))).values())
        figures.add("duplicate_rows", f"{box.name}: messages", strange)
        for row in rows:
            try:
                stored = world.store.content.read(session, f"{row.id}.raw")[1]
            except ConnectorError as error:
                figures.add("byte_differences", f"{box.name}: {row.id}: {error}")
                continue
            if stored != box.sources.get(row.identity):
                figures.add("byte_differences", f"{box.name}: {row.id}")
        kinds = Counter(
            session.exec(
                select(ContentRow.message_id, ContentRow.kind).where(
                    col(ContentRow.message_id).in_([row.id for row in rows])
                )
            )
        )
        figures.add(
            "duplicate_rows",
            f"{box.name}: content",
            sum(n - 1 for n in kinds.values()),
        )
        _judge_progress(session, box, figures)


def _judge_progress(session: Session, box: Mailbox, figures: RetrieveFigures) -> None:
    folder = session.exec(select(Folder).where(Folder.account_id == box.name)).one()
    places = session.exec(select(Location).where(Location.folder_id == folder.id)).all()
    figures.add(
        "left_behind", f"{box.name}: not marked as handled", sum(not p.handled_at for p in places)
    )
    total = box.copies.total()
    figures.add("missing", f"{box.name}: locations", max(0, total - len(places)))
    figures.add("duplicate_rows", f"{box.name}: locations", max(0, len(places) - total))
    batches = session.exec(
        select(CallbackDelivery).where(CallbackDelivery.folder_id == folder.id)
    ).all()
    for batch in batches:
        if batch.state not in ("settled", "abandoned"):
            figures.add("left_behind", f"{box.name}: batch {batch.id} is {batch.state}")
    cursor = session.get(Cursor, (folder.id, CONSUMER))
    if cursor is None or cursor.holes or cursor.uid_next != total + 1:
        figures.add("left_behind", f"{box.name}: the cursor is {cursor}")
    settled = [b.id for b in batches if b.state == "settled"]
    uids = Counter(session.exec(select(BatchItem.uid).where(col(BatchItem.batch_id).in_(settled))))
    figures.add("duplicate_rows", f"{box.name}: settled twice", sum(n - 1 for n in uids.values()))


def _judge_results(box: Mailbox, figures: RetrieveFigures) -> None:
    figures.runs += len(box.results) + len(box.failures)
    for failure in box.failures:
        figures.add("wrong_results", failure)
    if box.failures or box.interrupted:
        return
    said = sum(result.handled for result in box.results)
    if said != box.copies.total():
        figures.add("wrong_results", f"{box.name}: {said} handled of {box.copies.total()}")
    said = sum(result.retrieved for result in box.results)
    if said != len(box.sources):
        figures.add("wrong_results", f"{box.name}: {said} retrieved of {len(box.sources)}")


async def _judge_callbacks(
    world: World, client: Client, boxes: Sequence[Mailbox], figures: RetrieveFigures
) -> None:
    runs = {
        (run.id, run.run_id): run
        async for run in client.list_workflows(f"WorkflowType = '{callbacks.TYPE}'")
    }
    completed_at: dict[str, Any] = {}
    completed: Counter[str] = Counter()
    batches: Counter[str] = Counter()
    log = callbacks.delivered(world.callback_log)
    seen: set[str] = set()
    for each in log:
        run = runs[each.workflow_id, each.run_id]
        if run.status is WorkflowExecutionStatus.COMPLETED and each.run_id not in seen:
            seen.add(each.run_id)
            batches[each.batch_id] += 1
            for message in each.messages:
                completed[message] += 1
                completed_at[message] = run.close_time
    wanted = _message_ids(world, boxes)
    for batch_id, count in batches.items():
        figures.add("wrong_callbacks", f"batch {batch_id} completed {count} times", count - 1)
    figures.add("wrong_callbacks", "never completed", len(wanted - completed.keys()))
    again = {m: n for m, n in completed.items() if n > 1 and m in wanted}
    figures.add("wrong_callbacks", f"completed more than once: {again}", len(again))
    late: dict[str, list[str]] = defaultdict(list)
    for each in log:
        began = runs[each.workflow_id, each.run_id].start_time
        for message in each.messages:
            if message in wanted and message in completed_at and began > completed_at[message]:
                late[message].append(each.batch_id)
    figures.add("wrong_callbacks", f"delivered again after completion: {dict(late)}", len(late))


def _message_ids(world: World, boxes: Sequence[Mailbox]) -> set[str]:
    with world.store.database.read() as session:
        return set(
            session.exec(
                select(Message.id).where(
                    col(Message.account_id).in_([box.name for box in boxes]),
                    Message.direction == Direction.INCOMING,
                )
            )
        )
