"""Waits for a run and shows how far it got."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from models.base import Payload
from models.delivery import DeliveryReport
from models.mailbox import RetrievalProgress
from models.queue import QueueCounts
from starter.commands import Commands, Progress, Run
from starter.output import Output

R = TypeVar("R", bound=Payload)
Report = Progress | None

_LOOK_SECONDS = 0.4
_PATIENCE_SECONDS = 8.0
_NO_ANSWER = "no worker has answered yet; is one running?"


async def watch(
    commands: Commands, run: Run[R], show: Callable[[Report], None], *, quiet: bool = False
) -> R:
    """Return the result of a run; until then ``show`` gets its progress.

    Args:
        commands: Asks and waits.
        run: What to wait for.
        show: Called with each answer; with None while there is none.
        quiet: Whether nobody looks, so that nothing need be asked.
    """
    waiting = asyncio.ensure_future(commands.wait(run))
    try:
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=_LOOK_SECONDS)
            if not waiting.done() and not quiet:
                show(await commands.progress(run.workflow_id))
        return await waiting
    finally:
        waiting.cancel()


async def watch_sending(output: Output, commands: Commands, run: Run[R]) -> R:
    """Wait with a line that says what the last attempt left behind."""
    started = time.monotonic()
    with output.notes.status("sending…") as status:
        return await watch(
            commands,
            run,
            lambda report: status.update(_sending(report, started)),
            quiet=output.as_json,
        )


def _sending(report: Report, started: float) -> str:
    if isinstance(report, DeliveryReport) and report.open and report.attempts:
        reason = report.error.message if report.error else "the server asked to wait"
        return f"attempt {report.attempts} did not succeed ({reason}); it is tried again…"
    if report is None and time.monotonic() - started > _PATIENCE_SECONDS:
        return f"sending… {_NO_ANSWER}"
    return "sending…"


async def watch_retrieval(output: Output, commands: Commands, run: Run[R]) -> R:
    """Wait with a progress bar, the rate of mails per second and the time that is left."""
    started = time.monotonic()
    progress = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=output.notes,
        disable=output.as_json,
    )
    with progress:
        task = progress.add_task("opening the folder", total=None, rate="")

        def show(report: Report) -> None:
            if isinstance(report, RetrievalProgress):
                done = report.retrieved + report.known
                rate = done / max(time.monotonic() - started, 0.001)
                progress.update(
                    task,
                    description=f"{report.folder} (paused)" if report.paused else report.folder,
                    total=report.total,
                    completed=done,
                    rate=f"{rate:.0f}/s",
                )
            elif time.monotonic() - started > _PATIENCE_SECONDS:
                progress.update(task, description=_NO_ANSWER)

        result = await watch(commands, run, show, quiet=output.as_json)
        show(await commands.progress(run.workflow_id) if not output.as_json else None)
        return result


async def watch_drain(output: Output, commands: Commands, run: Run[R]) -> R:
    """Wait with a line that says how many mails have gone out."""

    def said(report: Report) -> str:
        if not isinstance(report, QueueCounts):
            return "draining the queue…"
        return f"{report.sent} sent, {report.deferred} to be tried again, {report.failed} failed…"

    with output.notes.status(said(None)) as status:
        return await watch(
            commands, run, lambda report: status.update(said(report)), quiet=output.as_json
        )
