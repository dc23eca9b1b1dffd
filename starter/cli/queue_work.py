"""`queue list | add | drain | schedule | unschedule`: what is in the queue, and getting it out."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from activities.store import waiting_line
from models.delivery import MessageStatus, SendEmailInput
from models.errors import ConnectorError, ErrorType
from models.queue import QueueCounts, SendQueuedEmailsInput
from models.wire import first_problem
from starter.cli.files import read_text
from starter.cli.waiting import watch_drain
from starter.connection import connected, connected_client, load_settings, opened_store
from starter.output import JsonFlag, NoWaitFlag, Output
from starter.schedules import Schedules

AccountFlag = Annotated[
    str | None, typer.Option("--account", help="Id or name of the account; default: all of them.")
]
_AT_ONCE = 20
_DURATION = re.compile(r"(\d+)(s|m|h)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours"}


def list_command(
    account: AccountFlag = None,
    status: Annotated[
        MessageStatus | None, typer.Option("--status", help="queued, sending or unknown.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List mails that are not settled, in the order in which they are sent."""
    output = Output(as_json)
    with opened_store() as store, store.database.read() as session:
        account_id = store.accounts.get(session, account).id if account else None
        found = waiting_line.waiting(session, account_id, status, limit)
    if as_json:
        output.document({"mails": found})
        return
    output.table(
        "",
        ["id", "account", "status", "priority", "attempts", "next attempt", "waits for"],
        [
            [m.message_id, m.account, m.status, m.priority, m.attempts, m.next_attempt_at, m.why]
            for m in found
        ],
    )


def add(
    file: Annotated[
        str, typer.Argument(help="One SendEmail input (JSON object) a line; - reads stdin.")
    ],
    account: Annotated[
        str | None, typer.Option("--account", help="For lines that name no account.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Queue many mails; a line that is wrong does not stop the others."""
    output = Output(as_json)
    rows = [
        (number, line)
        for number, line in enumerate(read_text(file).splitlines(), 1)
        if line.strip()
    ]
    gate = asyncio.Semaphore(_AT_ONCE)

    async def work() -> list[dict[str, Any]]:
        commands = await connected(load_settings())

        async def one(number: int, line: str) -> dict[str, Any]:
            async with gate:
                try:
                    result = await commands.wait(await commands.send(_request(line, account)))
                except ConnectorError as error:
                    where = {"type": error.type, "message": error.message, "field": error.field}
                    return {"line": number, "error": where}
                return {"line": number, "message_id": result.message_id, "status": result.status}

        return await asyncio.gather(*(one(number, line) for number, line in rows))

    done = asyncio.run(work())
    wrong = [row for row in done if "error" in row]
    if as_json:
        output.document({"queued": len(done) - len(wrong), "failed": len(wrong), "lines": done})
    else:
        for row in wrong:
            error = row["error"]
            output.error(error["type"], f"line {row['line']}: {error['message']}", error["field"])
        output.console.print(f"{len(done) - len(wrong)} queued, {len(wrong)} refused")
    if wrong:
        raise typer.Exit(1)


def drain(
    account: AccountFlag = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Mails to try at the most.")
    ] = None,
    no_wait: NoWaitFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Send what is due, now."""
    output = Output(as_json)

    async def work() -> tuple[str, QueueCounts | None, int]:
        commands = await connected(load_settings())
        run = await commands.send_queued(SendQueuedEmailsInput(account=account, limit=limit))
        if no_wait:
            return run.workflow_id, None, 0
        result = await watch_drain(output, commands, run)
        return run.workflow_id, result.counts, result.due

    workflow_id, counts, due = asyncio.run(work())
    if as_json:
        told = {"counts": counts, "due": due} if counts else {}
        output.document({"workflow_id": workflow_id, **told})
    elif counts is None:
        output.console.print(f"Started as {workflow_id}.", soft_wrap=True)
    else:
        output.facts("", {**counts.model_dump(), "still due": due})


def schedule(
    every: Annotated[str, typer.Option("--every", help="Interval, such as 30s, 5m or 1h.")] = "30s",
    account: AccountFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Drain the queue at an interval, by a Temporal Schedule; also changes the interval."""
    output = Output(as_json)
    interval, account_id = _interval(every), _account_id(account)

    async def work() -> Any:
        return await Schedules(await connected_client(load_settings())).drain(interval, account_id)

    made = asyncio.run(work())
    facts = {
        "schedule": made.schedule_id,
        "every": every,
        "while one runs": "no other is started",
        "next": made.next_at,
    }
    if as_json:
        facts["next"] = made.next_at.isoformat() if made.next_at else None
        output.document(facts)
    else:
        output.facts("", facts)


def unschedule(account: AccountFlag = None, as_json: JsonFlag = False) -> None:
    """Stop draining the queue at an interval."""
    output = Output(as_json)
    account_id = _account_id(account)

    async def work() -> bool:
        return await Schedules(await connected_client(load_settings())).stop_drain(account_id)

    removed = asyncio.run(work())
    if as_json:
        output.document({"removed": removed})
    else:
        output.console.print("removed" if removed else "there was no such schedule")


def _request(line: str, account: str | None) -> SendEmailInput:
    try:
        given = json.loads(line)
    except ValueError:
        raise ConnectorError(ErrorType.INVALID_INPUT, "this is not JSON") from None
    if not isinstance(given, dict):
        raise ConnectorError(ErrorType.INVALID_INPUT, "a JSON object is required")
    try:
        return SendEmailInput.model_validate({"account": account} | given | {"queued": True})
    except ValidationError as error:
        field, reason = first_problem(error)
        raise ConnectorError(ErrorType.INVALID_INPUT, reason, field=field) from None


def _interval(text: str) -> timedelta:
    found = _DURATION.fullmatch(text)
    if not found or not int(found[1]):
        raise ConnectorError(
            ErrorType.INVALID_INPUT, "give a number and s, m or h, such as 30s", field="every"
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _account_id(account: str | None) -> str | None:
    if account is None:
        return None
    with opened_store() as store, store.database.read() as session:
        return store.accounts.get(session, account).id
