"""`webhook`: list, show, redeliver, and the secrets that sign."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated

import typer

from activities.store import webhooks
from models.errors import ConnectorError, ErrorType
from models.web import parse_url
from models.webhook import DeliverWebhookInput, DeliverWebhookResult, WebhookState
from starter.cli.send import show_run
from starter.commands import Run
from starter.connection import connected, load_settings, opened_store
from starter.output import JsonFlag, NoWaitFlag, Output

app = typer.Typer(help="Events that are posted to URLs, and dead letters.", no_args_is_help=True)
secret_app = typer.Typer(help="The secrets that receivers check signatures with.")
app.add_typer(secret_app, name="secret", no_args_is_help=True)

WebhookArgument = Annotated[str, typer.Argument(help="Id of the event.")]


@app.command("list")
def list_webhooks(
    dead: Annotated[bool, typer.Option("--dead", help="Only dead letters.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List the newest events."""
    output = Output(as_json)
    with opened_store() as store, store.database.read() as session:
        found = webhooks.recent(session, state=WebhookState.DEAD if dead else None, limit=limit)
    if as_json:
        output.document(found)
        return
    output.table(
        "",
        ["id", "type", "state", "attempts", "created", "to", "error"],
        [[w.id, w.type, w.state, w.attempts, w.created_at, w.origin, w.error_type] for w in found],
    )


@app.command("show")
def show(webhook_id: WebhookArgument, as_json: JsonFlag = False) -> None:
    """Show an event and its attempts; not what it says."""
    output = Output(as_json)
    with opened_store() as store, store.database.read() as session:
        found = webhooks.summary(session, webhook_id)
        attempts = webhooks.attempts(session, webhook_id)
    if as_json:
        each = [a.model_dump(mode="json", exclude={"webhook_id"}) for a in attempts]
        output.document({**found.model_dump(mode="json"), "requests": each})
        return
    output.facts("", found.model_dump())
    output.table(
        "",
        ["attempt", "milliseconds", "status", "error", "to"],
        [[a.started_at, a.duration_ms, a.status_code, a.error_type, a.origin] for a in attempts],
    )


@app.command("redeliver")
def redeliver(
    webhook_id: WebhookArgument,
    url: Annotated[
        str | None, typer.Option("--url", help="Another URL than the one it was posted to.")
    ] = None,
    no_wait: NoWaitFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Post an event again: the same bytes under the same id."""
    output = Output(as_json)
    settings = load_settings()
    with opened_store(settings) as store, store.database.read() as session:
        target = url or store.webhooks.url(store.webhooks.get(session, webhook_id))
    request = DeliverWebhookInput(webhook=target, redeliver=webhook_id)

    async def work() -> tuple[Run[DeliverWebhookResult], DeliverWebhookResult | None]:
        commands = await connected(settings)
        run = await commands.redeliver_webhook(request)
        if no_wait:
            return run, None
        output.notes.print(f"workflow {run.workflow_id}", style="dim", soft_wrap=True)
        return run, await commands.wait(run)

    run, result = asyncio.run(work())
    if result is None or as_json:
        show_run(output, run, result)
    else:
        output.console.print(f"delivered, HTTP status {result.status_code}", style="green")


@secret_app.command("show")
def show_secret(
    url: Annotated[str, typer.Argument(help="URL of the receiver.")], as_json: JsonFlag = False
) -> None:
    """Print the secret of a receiver, and older ones that still count, newest first."""
    output = Output(as_json)
    try:
        origin = parse_url(url).origin
    except ValueError as error:
        raise ConnectorError(ErrorType.INVALID_INPUT, str(error), field="url") from None
    with opened_store() as store, store.database.write() as session:
        secrets = store.webhooks.secrets(session, origin)
    if as_json:
        output.document({"origin": origin, "secrets": secrets})
        return
    for secret in secrets:
        typer.echo(secret)


@secret_app.command("rotate")
def rotate_secrets(
    keep_hours: Annotated[
        float,
        typer.Option("--keep-hours", min=0, max=8760, help="How long the old ones sign as well."),
    ] = 24,
    as_json: JsonFlag = False,
) -> None:
    """Give every receiver a new secret; for a while both sign."""
    output = Output(as_json)
    with opened_store() as store, store.database.write() as session:
        until = store.webhooks.rotate(session, timedelta(hours=keep_hours))
    if as_json:
        output.document({"old_until": until.isoformat()})
    else:
        output.notes.print(
            f"old secrets sign until {until:%Y-%m-%d %H:%M %Z}; give each receiver its new one "
            "('webhook secret show URL') before",
            soft_wrap=True,
        )
