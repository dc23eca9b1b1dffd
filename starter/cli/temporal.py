"""`temporal`: prepares a Temporal server for us."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from models import search_attributes
from starter.connection import connected_client, load_settings
from starter.namespace import ensure_namespace
from starter.output import JsonFlag, Output

app = typer.Typer(help="The Temporal server.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The Temporal server."""


@app.command("setup")
def setup(
    create_namespace: Annotated[
        bool, typer.Option("--create-namespace", help="Create the namespace if it is not there.")
    ] = False,
    retention_days: Annotated[
        int,
        typer.Option(
            "--retention-days",
            min=1,
            help="How long a new namespace keeps the history of a run that is over.",
        ),
    ] = 7,
    as_json: JsonFlag = False,
) -> None:
    """Register our search attributes in the namespace; harmless to repeat.

    The worker does the same when it starts; this is for servers where it may not.
    """
    output = Output(as_json)

    async def work() -> tuple[str, bool, list[str]]:
        client = await connected_client(load_settings())
        created = create_namespace and await ensure_namespace(client, retention_days)
        return client.namespace, created, await search_attributes.register(client)

    namespace, created, added = asyncio.run(work())
    if as_json:
        output.document({"namespace": namespace, "created": created, "registered": added})
        return
    if created:
        output.console.print(f"Namespace {namespace} created.", style="green")
    said = f"registered {', '.join(added)}" if added else "all search attributes were there"
    output.console.print(f"Namespace {namespace}: {said}.", style="green", soft_wrap=True)
