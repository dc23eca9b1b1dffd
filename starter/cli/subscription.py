"""`subscription start | list | status | stop`: listening to folders."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError

from models.account import EmailAccount
from models.callback import CallbackKind
from models.errors import ConnectorError, ErrorType
from models.ids import subscription_workflow_id
from models.mailbox import FetchStrategy, Handling
from models.names import WorkflowType
from models.subscription import SubscribeForEmailNotificationInput, SubscriptionStatus
from starter.cli.callbacks import callback_option, callback_spec
from starter.cli.files import invalid
from starter.commands import Commands
from starter.connection import connected, load_settings, opened_store
from starter.output import JsonFlag, Output

app = typer.Typer(help="Listening to folders.", no_args_is_help=True)

AccountFlag = Annotated[str, typer.Option("--account", help="Id or name of the account.")]
FolderFlag = Annotated[str | None, typer.Option("--folder", help="Folder; default: the account's.")]
_AT_ONCE = 20


class Subscription(BaseModel):
    """A row of the list."""

    workflow_id: str
    account: str | None
    folder: str | None
    status: SubscriptionStatus | None


@app.command("start")
def start(
    account: AccountFlag,
    folder: FolderFlag = None,
    number: Annotated[int | None, typer.Option("--number", help="Mails of a retrieval.")] = None,
    strategy: Annotated[
        FetchStrategy | None, typer.Option("--strategy", help="Which mails come first.")
    ] = None,
    everything: Annotated[
        bool | None,
        typer.Option("--everything/--no-everything", help="The whole folder, oldest first."),
    ] = None,
    handling: Annotated[
        Handling | None,
        typer.Option("--handling", help="What happens to a mail on the server afterwards."),
    ] = None,
    move_folder: Annotated[
        str | None, typer.Option("--move-folder", help="Existing folder for handling 'move'.")
    ] = None,
    consumer: Annotated[
        str, typer.Option("--consumer", help="Whose place in the folder to go on from.")
    ] = "default",
    on_email_fetch: Annotated[
        str | None,
        callback_option(
            CallbackKind.ON_EMAIL_FETCH,
            "Workflow to run for each batch, or URL to post it to; append :plain to the queue of a "
            "worker without our payload key.",
        ),
    ] = None,
    on_fetch_error: Annotated[
        str | None, callback_option(CallbackKind.ON_FETCH_ERROR, "The same on an error.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Listen to a folder, and retrieve what arrives; one that is listened to already stays so."""
    output = Output(as_json)
    try:
        request = SubscribeForEmailNotificationInput(
            account=account,
            folder=folder,
            number_of_emails=number,
            fetch_strategy=strategy,
            replicate_everything=everything,
            handling=handling,
            move_folder=move_folder,
            consumer=consumer,
            on_email_fetch=callback_spec(on_email_fetch),
            on_fetch_error=callback_spec(on_fetch_error),
        )
    except ValidationError as error:
        raise invalid(error) from None
    found = _account(account)

    async def work() -> str:
        return await (await connected(load_settings())).subscribe(request, found)

    workflow_id = asyncio.run(work())
    if as_json:
        output.document({"workflow_id": workflow_id})
    else:
        output.console.print(f"Listening as {workflow_id}.", soft_wrap=True)


@app.command("stop")
def stop(account: AccountFlag, folder: FolderFlag = None, as_json: JsonFlag = False) -> None:
    """Stop listening, within half a minute; a retrieval that runs goes on.

    That of a flagged account starts again with a worker, unless the flag is taken away.
    """
    output = Output(as_json)
    workflow_id = _workflow_id(account, folder)

    async def work() -> None:
        await (await connected(load_settings())).unsubscribe(workflow_id)

    asyncio.run(work())
    if as_json:
        output.document({"stopping": workflow_id})
    else:
        output.console.print(f"Told {workflow_id} to stop.", soft_wrap=True)


@app.command("status")
def status(account: AccountFlag, folder: FolderFlag = None, as_json: JsonFlag = False) -> None:
    """Show how a subscription stands, and when its server was last proven to be there."""
    output = Output(as_json)
    workflow_id = _workflow_id(account, folder)

    async def work() -> SubscriptionStatus:
        return await (await connected(load_settings())).subscription(workflow_id)

    found = asyncio.run(work())
    if as_json:
        output.document({"workflow_id": workflow_id, **found.model_dump(mode="json")})
    else:
        output.facts(workflow_id, found.model_dump())


@app.command("list")
def list_command(as_json: JsonFlag = False) -> None:
    """List the subscriptions that run."""
    output = Output(as_json)
    names = {}
    with opened_store() as store, store.database.read() as session:
        names = {account.id: account.name for account in store.accounts.list(session)}

    async def work() -> list[Subscription]:
        commands = await connected(load_settings())
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(workflow_id: str) -> Subscription:
            async with gate:
                found = await _status(commands, workflow_id)
            account_id = workflow_id.split("/")[1] if found is None else found.account_id
            name = names.get(account_id or "", account_id)
            folder = found.folder if found else None
            return Subscription(workflow_id=workflow_id, account=name, folder=folder, status=found)

        running = await commands.running_ids(WorkflowType.SUBSCRIBE_FOR_EMAIL_NOTIFICATION)
        return await asyncio.gather(*(one(workflow_id) for workflow_id in running))

    rows = sorted(asyncio.run(work()), key=lambda row: (row.account or "", row.folder or ""))
    if as_json:
        output.document({"subscriptions": rows})
        return
    output.table(
        "",
        ["account", "folder", "state", "proven", "arrived", "error", "id"],
        [[row.account, row.folder, *_cells(row.status), row.workflow_id] for row in rows],
    )


def _cells(found: SubscriptionStatus | None) -> list[Any]:
    if found is None:
        return ["no worker answers", "", "", ""]
    at: datetime | None = found.proven_at
    return [found.state, at, found.arrived, found.error_type or found.retrieval_error_type]


async def _status(commands: Commands, workflow_id: str) -> SubscriptionStatus | None:
    try:
        return await commands.subscription(workflow_id)
    except ConnectorError as error:
        if error.type is ErrorType.INVALID_INPUT:
            raise
        return None


def _account(reference: str) -> EmailAccount:
    with opened_store() as store, store.database.read() as session:
        return store.accounts.get(session, reference)


def _workflow_id(reference: str, folder: str | None) -> str:
    account = _account(reference)
    request = SubscribeForEmailNotificationInput(account=account.id, folder=folder)
    return subscription_workflow_id(account.id, request.folder or account.retrieval.folder)
