"""`store copy`: everything in one database into another one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from activities.store.blob_stores import open_blobs
from activities.store.copying import copy_store
from starter.connection import load_settings
from starter.output import JsonFlag, Output

app = typer.Typer(help="The database and the large content.", no_args_is_help=True)


@app.command("copy")
def copy(
    target: Annotated[
        str,
        typer.Option("--to", metavar="URL", help="An empty database (postgresql+psycopg://…)."),
    ],
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="URL", help="The database; by default that in use."),
    ] = None,
    blobs_target: Annotated[
        str | None,
        typer.Option(
            "--blobs-to",
            metavar="URL",
            help="Copy large content here as well (s3://BUCKET/PREFIX).",
        ),
    ] = None,
    blobs_source: Annotated[
        str | None,
        typer.Option("--blobs-from", metavar="URL", help="Large content; by default that in use."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Copy the store into an empty database, all of it or nothing; stop every worker first."""
    output, settings = Output(as_json), load_settings()
    blobs = None
    if blobs_target is not None:
        blobs = open_blobs(blobs_source or settings.blob_folder_url()), open_blobs(blobs_target)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=output.notes, disable=as_json) as bar:
        task = bar.add_task("starting")

        def report(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        copied = copy_store(source or settings.sqlalchemy_url(), target, report, blobs=blobs)
    if as_json:
        output.document(asdict(copied))
        return
    output.table("", ["table", "rows"], [[name, rows] for name, rows in copied.tables.items()])
    output.console.print(f"{copied.content_bytes} bytes of content match their hashes.")
    if copied.blobs is None:
        output.console.print("Large content was left where it is (--blobs-to copies it).")
    else:
        output.console.print(f"{copied.blobs} pieces of large content were copied and match.")
    output.console.print(
        "Give workers and commands EMAIL_CONNECTOR_DATABASE_URL (and EMAIL_CONNECTOR_BLOB_URL) "
        "before they start again; the keys stay as they are.",
        soft_wrap=True,
    )
