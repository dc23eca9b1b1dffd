"""`demo`: the main job once, end to end, and the proof of it.

send ─► deliver ─► replicate (callback in another process) ─► move ─► compare
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from pydantic import SecretStr
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from temporalio.client import Client

from activities.mail.imap import ImapConnector
from activities.store import messages
from activities.store.accounts import Secrets
from activities.store.assembly import Store
from models.account import (
    AccountSettings,
    EmailAccount,
    IncomingProtocol,
    IncomingServer,
    OutgoingServer,
    Security,
)
from models.callback import CallbackSpec, PayloadProtection
from models.delivery import SendEmailInput, SendEmailResult
from models.mailbox import Handling, RetrieveEmailMessagesInput, RetrieveEmailMessagesResult
from models.settings import Settings
from models.wire import data_converter
from starter.cli.waiting import watch_retrieval
from starter.commands import Commands, Run
from starter.connection import opened_store
from starter.demo_report import DemoMail, DemoReport, show
from starter.embedded.callback_worker import QUEUE, WORKFLOW
from starter.embedded.callbacks import CallbackWorker
from starter.embedded.credentials import ARCHIVE, SENT
from starter.embedded.samples import mails
from starter.embedded.stack import Stack, running
from starter.output import Output
from starter.ui_links import run_url
from starter.up import stopped_by_sigterm

_MAILS = 12
_BATCH = 5


@dataclass(frozen=True, slots=True)
class _Done:
    """What the story has led to."""

    account: EmailAccount
    sent: list[tuple[Run[SendEmailResult], SendEmailResult]]
    retrieval: Run[RetrieveEmailMessagesResult]
    retrieved: RetrieveEmailMessagesResult
    callbacks: list[tuple[str, str, list[str]]]


def demo(output: Output, settings: Settings, *, stay: bool = False) -> DemoReport:
    """Run the demo in a folder of its own, which is kept.

    Args:
        output: Where it is told.
        settings: Where the data lies.
        stay: Whether everything stays up afterwards, until Ctrl-C.
    """
    started = time.monotonic()
    folder = settings.data_dir / "demo" / f"{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    # Nothing but this folder is touched, whatever the environment says.
    own = Settings(
        data_dir=folder,
        database_url=None,
        blob_url=None,
        encryption_keys=None,
        payload_keys=None,
        payload_encryption="on",
        content_keys=None,
        codec_token=None,
        ca_file=None,
    )
    with (
        stopped_by_sigterm(),
        output.notes.status("starting…") as status,
        running(own, status.update, ours_only=True) as stack,
        opened_store(stack.settings) as store,
        CallbackWorker(stack.settings.data_dir / "callbacks", stack.temporal.address),
    ):
        account = _add_account(store, stack)
        stack.wait()
        status.stop()
        done = asyncio.run(_story(output, stack, store, account))
        report = _report(stack, store, done, time.monotonic() - started)
        show(output, report)
        if stay:
            output.notes.print("Everything stays up until Ctrl-C.")
            _until_interrupted()
    return report


def _add_account(store: Store, stack: Stack) -> EmailAccount:
    mail = stack.mail
    if mail is None:
        raise ValueError("the demo needs the mail server")
    address = f"anna@{mail.domain}"
    settings = AccountSettings(
        name="Demo",
        email_address=address,
        full_name="Anna Demo",
        outgoing=OutgoingServer(
            host=mail.host, port=mail.smtp_port, security=Security.NONE, username=address
        ),
        incoming=IncomingServer(
            protocol=IncomingProtocol.IMAP,
            host=mail.host,
            port=mail.imap_port,
            security=Security.NONE,
            username=address,
        ),
        sent_folder=SENT,
    )
    password = SecretStr(mail.password)
    with store.database.write() as session:
        return store.accounts.add(session, str(uuid4()), settings, Secrets(password, password))


async def _story(output: Output, stack: Stack, store: Store, account: EmailAccount) -> _Done:
    address = stack.temporal.address
    converter = data_converter(store.keys.payloads)
    commands = Commands(await Client.connect(address, data_converter=converter))
    sent = await _send(output, commands, account)
    request = RetrieveEmailMessagesInput(
        account=account.id,
        batch_size=_BATCH,
        handling=Handling.MOVE,
        move_folder=ARCHIVE,
        on_email_fetch=CallbackSpec(
            workflow=WORKFLOW, task_queue=QUEUE, payloads=PayloadProtection.PLAIN
        ),
    )
    retrieval = await commands.retrieve(request, account)
    retrieved = await watch_retrieval(output, commands, retrieval)
    return _Done(account, sent, retrieval, retrieved, await _callbacks(address))


async def _send(
    output: Output, commands: Commands, account: EmailAccount
) -> list[tuple[Run[SendEmailResult], SendEmailResult]]:
    requests = [
        SendEmailInput(account=account.id, message=mail)
        for mail in mails(account.email_address, _MAILS)
    ]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=output.notes, disable=output.as_json) as progress:
        task = progress.add_task("sending", total=len(requests))

        async def send(request: SendEmailInput) -> tuple[Run[SendEmailResult], SendEmailResult]:
            run = await commands.send(request)
            result = await commands.wait(run)
            progress.advance(task)
            return run, result

        return list(await asyncio.gather(*(send(request) for request in requests)))


async def _callbacks(address: str) -> list[tuple[str, str, list[str]]]:
    """Runs of the consumer with the ids it took, read the way a stranger to us would."""
    client = await Client.connect(address)
    return [
        (
            run.id,
            run.run_id,
            (await client.get_workflow_handle(run.id, run_id=run.run_id).result())["accepted"],
        )
        async for run in client.list_workflows(f"WorkflowType = '{WORKFLOW}'")
    ]


def _report(stack: Stack, store: Store, done: _Done, seconds: float) -> DemoReport:
    archived = _archived(store, done.account)
    with store.database.read() as session:
        rows = messages.recent(session, account_id=done.account.id, limit=4 * _MAILS)
    received = {m.internet_message_id: m for m in rows if m.direction == "incoming"}
    taken = {mail_id for _, _, ids in done.callbacks for mail_id in ids}
    shown: list[DemoMail] = []
    for _, result in done.sent:
        mail = received.get(result.internet_message_id)
        reply = result.recipients[0]
        shown.append(
            DemoMail(
                subject=mail.subject if mail else "",
                sent=f"{result.status}, {reply.code} {reply.enhanced_code or ''}".strip(),
                received=mail.id if mail else None,
                stored=f"{mail.size} bytes, {mail.attachments} files" if mail else None,
                taken=mail is not None and mail.id in taken,
                # The same hash: what lies in the folder is byte for byte what is stored.
                moved_to=ARCHIVE if mail is not None and mail.identity in archived else None,
            )
        )
    return DemoReport(
        seconds=round(seconds, 1),
        mails=shown,
        retrieved=done.retrieved,
        callbacks=len(done.callbacks),
        data_dir=str(stack.settings.data_dir),
        temporal_port=stack.temporal.port,
        ui_port=stack.ui_port,
        links=_links(stack.ui_url, done),
    )


def _archived(store: Store, account: EmailAccount) -> set[str]:
    """Hashes of the mails that lie in the archive folder on the server."""
    with store.database.read() as session:
        _, endpoint = store.accounts.incoming(session, account.id)
    with ImapConnector().connect(endpoint) as mailbox:
        state = mailbox.open(ARCHIVE, read_only=True)
        uids = mailbox.uids([(1, state.uid_next)])
        return {hashlib.sha256(mail.raw).hexdigest() for mail in mailbox.fetch(uids)}


def _links(ui_url: str, done: _Done) -> dict[str, str]:
    first, _ = done.sent[0]
    links = {
        "SendEmail": run_url(ui_url, first.workflow_id, first.run_id),
        "RetrieveEmailMessages": run_url(ui_url, done.retrieval.workflow_id, done.retrieval.run_id),
    }
    for workflow_id, run_id, _ in done.callbacks[:1]:
        links[WORKFLOW] = run_url(ui_url, workflow_id, run_id)
    return links


def _until_interrupted() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return
