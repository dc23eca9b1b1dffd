"""`account check` and `account folders`: they ask the account's servers, by way of a worker."""

from __future__ import annotations

import asyncio

import typer

from models.account import (
    CheckServerConnectionInput,
    CheckServerConnectionResult,
    ServerCheck,
)
from models.mailbox import GetFolderNamesInput, GetFolderNamesResult
from starter.cli.account import AccountArgument
from starter.connection import connected, load_settings
from starter.output import JsonFlag, Output


def check(account: AccountArgument, as_json: JsonFlag = False) -> None:
    """Log in to each configured server; the exit code is 1 when one of them fails."""
    output = Output(as_json)

    async def ask() -> CheckServerConnectionResult:
        commands = await connected(load_settings())
        return await commands.check_server_connection(CheckServerConnectionInput(account=account))

    with output.notes.status("logging in…"):
        result = asyncio.run(ask())
    if as_json:
        output.document(result)
    else:
        sides: dict[str, ServerCheck | None] = {
            "outgoing": result.outgoing,
            "incoming": result.incoming,
        }
        for side, found in sides.items():
            if found:
                output.console.print(
                    f"{side}: {'ok' if found.ok else found.error_type}: {found.explanation}",
                    style="green" if found.ok else "red",
                    soft_wrap=True,
                )
    if not result.ok:
        raise typer.Exit(1)


def folders(account: AccountArgument, as_json: JsonFlag = False) -> None:
    """List the folders on the account's incoming server."""
    output = Output(as_json)

    async def ask() -> GetFolderNamesResult:
        commands = await connected(load_settings())
        return await commands.get_folder_names(GetFolderNamesInput(account=account))

    with output.notes.status("asking the server…"):
        result = asyncio.run(ask())
    if as_json:
        output.document(result)
        return
    output.table(
        "",
        ["folder", "use", "can be opened"],
        [[f.name, f.special_use, f.selectable] for f in result.folders],
    )
