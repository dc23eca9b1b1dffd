"""`result`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from models.base import Payload
from models.mailbox import RetrieveEmailMessagesResult
from starter.cli.retrieve import show_retrieved
from starter.cli.send import show_run
from starter.commands import Run
from starter.connection import connected, load_settings
from starter.output import JsonFlag, Output


def result(
    workflow_id: Annotated[str, typer.Argument(help="Id that 'send' or 'retrieve' printed.")],
    as_json: JsonFlag = False,
) -> None:
    """Wait for a run and print its result."""
    output = Output(as_json)

    async def work() -> tuple[Run[Payload], Payload]:
        commands = await connected(load_settings())
        run = await commands.find(workflow_id)
        return run, await commands.wait(run)

    with output.notes.status("waiting…"):
        run, found = asyncio.run(work())
    if isinstance(found, RetrieveEmailMessagesResult) and not as_json:
        show_retrieved(output, found)
    else:
        show_run(output, run, found)
