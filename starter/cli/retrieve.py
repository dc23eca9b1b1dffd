"""`retrieve`."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from models.callback import CallbackKind
from models.mailbox import (
    FetchStrategy,
    Handling,
    RetrieveEmailMessagesInput,
    RetrieveEmailMessagesResult,
)
from starter.cli.callbacks import callback_option, callback_spec
from starter.cli.files import invalid
from starter.cli.moments import moment
from starter.cli.send import show_run
from starter.cli.waiting import watch_retrieval
from starter.commands import Run
from starter.connection import connected, load_settings, opened_store
from starter.output import JsonFlag, NoWaitFlag, Output


def retrieve(
    account: Annotated[str, typer.Option("--account", help="Id or name of the account.")],
    folder: Annotated[str | None, typer.Option("--folder", help="Folder to replicate.")] = None,
    number: Annotated[int | None, typer.Option("--number", help="Mails of this run.")] = None,
    strategy: Annotated[
        FetchStrategy | None, typer.Option("--strategy", help="Which mails come first.")
    ] = None,
    everything: Annotated[
        bool | None,
        typer.Option("--everything/--no-everything", help="The whole folder, oldest first."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Mails per batch and callback.")
    ] = None,
    handling: Annotated[
        Handling | None,
        typer.Option("--handling", help="What happens to a mail on the server afterwards."),
    ] = None,
    move_folder: Annotated[
        str | None, typer.Option("--move-folder", help="Existing folder for handling 'move'.")
    ] = None,
    render_inline_images: Annotated[
        bool | None,
        typer.Option(
            "--render-inline-images/--no-render-inline-images", help="Show embedded images."
        ),
    ] = None,
    sanitize: Annotated[
        bool | None, typer.Option("--sanitize/--no-sanitize", help="Make the html safe to show.")
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
    on_fetch_complete: Annotated[
        str | None, callback_option(CallbackKind.ON_FETCH_COMPLETE, "The same at the end.")
    ] = None,
    on_fetch_error: Annotated[
        str | None, callback_option(CallbackKind.ON_FETCH_ERROR, "The same on an error.")
    ] = None,
    rewind_since: Annotated[
        datetime | None,
        typer.Option(
            "--rewind-since", parser=moment, metavar="MOMENT", help="Tell mails again: 2d."
        ),
    ] = None,
    rewind_uid: Annotated[
        int | None, typer.Option("--rewind-uid", help="Tell mails again, from this UID on.")
    ] = None,
    rewind_mail: Annotated[
        str | None, typer.Option("--rewind-mail", help="Tell one mail again, by its id.")
    ] = None,
    no_wait: NoWaitFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Replicate a folder into the store; what is not given is as the account says.

    With --rewind-…, stored mails are told again instead, without the server.
    """
    output = Output(as_json)
    given = {"since": rewind_since, "from_uid": rewind_uid, "message_id": rewind_mail}
    rewind = {name: value for name, value in given.items() if value is not None}
    request = _request(
        account=account,
        rewind=rewind or None,
        folder=folder,
        number_of_emails=number,
        fetch_strategy=strategy,
        replicate_everything=everything,
        batch_size=batch_size,
        handling=handling,
        move_folder=move_folder,
        render_inline_images=render_inline_images,
        sanitize=sanitize,
        consumer=consumer,
        on_email_fetch=callback_spec(on_email_fetch),
        on_fetch_complete=callback_spec(on_fetch_complete),
        on_fetch_error=callback_spec(on_fetch_error),
    )
    settings = load_settings()
    with opened_store(settings) as store, store.database.read() as session:
        found = store.accounts.get(session, account)

    async def work() -> tuple[Run[RetrieveEmailMessagesResult], RetrieveEmailMessagesResult | None]:
        commands = await connected(settings)
        run = await commands.retrieve(request, found)
        if no_wait:
            return run, None
        output.notes.print(f"workflow {run.workflow_id}", style="dim", soft_wrap=True)
        return run, await watch_retrieval(output, commands, run)

    run, result = asyncio.run(work())
    if result is None or as_json:
        show_run(output, run, result)
    else:
        show_retrieved(output, result)


def _request(**values: Any) -> RetrieveEmailMessagesInput:
    try:
        return RetrieveEmailMessagesInput.model_validate(values)
    except ValidationError as error:
        raise invalid(error) from None


def show_retrieved(output: Output, result: RetrieveEmailMessagesResult) -> None:
    """Print what a retrieval did."""
    output.console.print(
        f"{result.folder}: {result.retrieved} new, {result.known} known, {result.handled} handled "
        f"on the server, {result.quarantined} quarantined, in {result.batches} batches",
        style="green",
        soft_wrap=True,
    )
