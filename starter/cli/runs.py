"""`runs`: what Temporal knows of the runs, by account, state and direction."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from models.errors import ConnectorError, ErrorType
from models.names import Direction, RunStatus
from starter.commands import Commands
from starter.connection import connected, load_settings, opened_store
from starter.output import JsonFlag, Output
from starter.run_filter import RunFilter
from starter.run_list import ListedRun
from starter.ui_links import list_url

app = typer.Typer(help="Runs of workflows.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Runs of workflows."""


@app.command("list")
def list_command(
    account: Annotated[
        str | None, typer.Option("--account", help="Id or name of the account.")
    ] = None,
    status: Annotated[
        RunStatus | None, typer.Option("--status", help="How the mail stands.")
    ] = None,
    direction: Annotated[
        Direction | None, typer.Option("--direction", help="Which way the mail travels.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List runs, the latest first, with their pages in Temporal's UI."""
    output = Output(as_json)
    settings = load_settings()
    wanted = RunFilter(_account_id(account), status, direction)
    query = wanted.query()

    async def work() -> tuple[Commands, list[ListedRun]]:
        commands = await connected(settings)
        return commands, await commands.runs(wanted, ui_url=settings.temporal_ui_url, limit=limit)

    commands, runs = asyncio.run(work())
    url = list_url(settings.temporal_ui_url, query, commands.namespace)
    if as_json:
        output.document({"query": query, "url": url, "runs": runs})
        return
    output.table(
        "",
        ["id", "type", "status", "run", "started"],
        [[r.workflow_id, r.type, r.status, r.execution, r.started_at] for r in runs],
    )
    output.notes.print(f"in Temporal's UI: {url}", style="dim", soft_wrap=True)


WorkflowIdArgument = Annotated[str, typer.Argument(help="Id that 'retrieve' printed.")]


@app.command("pause")
def pause_command(workflow_id: WorkflowIdArgument) -> None:
    """Have a retrieval complete what it has begun, and wait."""
    _pause(workflow_id, paused=True)


@app.command("resume")
def resume_command(workflow_id: WorkflowIdArgument) -> None:
    """Have a paused retrieval go on."""
    _pause(workflow_id, paused=False)


def _pause(workflow_id: str, *, paused: bool) -> None:
    async def work() -> None:
        commands = await connected(load_settings())
        await commands.pause_retrieval(workflow_id, paused=paused)

    asyncio.run(work())
    word = "is paused; 'runs resume' lets it go on" if paused else "goes on"
    Output(as_json=False).notes.print(f"{workflow_id} {word}", soft_wrap=True)


def _account_id(account: str | None) -> str | None:
    if account is None:
        return None
    with opened_store() as store, store.database.read() as session:
        try:
            return store.accounts.get(session, account).id
        except ConnectorError as error:
            if error.type is not ErrorType.ACCOUNT_NOT_FOUND:
                raise
            return account  # one that was deleted is still known to Temporal, by its id
