"""`queue`: what a person decides about mails that are to be sent, or may have been."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated

import typer
from sqlmodel import Session

from activities.store import ledger, operator
from activities.store.assembly import Store
from models.delivery import DeliveryReport, MessageStatus, RecipientState
from models.errors import ConnectorError, ErrorType
from models.ids import parts_of_chain
from models.settings import Settings
from starter.cli.confirming import YesFlag, confirmed
from starter.connection import connected, load_settings, opened_store
from starter.output import JsonFlag, Output

app = typer.Typer(help="Mails that are to be sent.", no_args_is_help=True)

_PATIENCE = timedelta(seconds=30)

MessageArgument = Annotated[str, typer.Argument(help="Id of the mail.")]


@app.callback()
def _group() -> None:
    """Mails that are to be sent."""


@app.command("resend")
def resend(
    message_id: MessageArgument,
    again: Annotated[
        bool, typer.Option("--again", help="Also to recipients it was sent to, a second time.")
    ] = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Queue a mail that failed, or is unknown, for the recipients it was not sent to."""
    output, settings = Output(as_json), load_settings()
    with opened_store(settings) as store:
        found = _report(store, message_id)
        _refuse_while_sending(settings, store, message_id)
        twice = _twice(found, again=again)
        if twice:
            output.notes.print(twice, soft_wrap=True)
            if not yes and not confirmed(output, "Send it?", "to send it"):
                raise typer.Exit(1)
        with store.database.write() as session:
            delivery = operator.delivery_of(session, message_id)
            account = store.accounts.get(session, delivery.account_id)
            report = operator.resend(session, message_id, account, again=again)
    _show(output, message_id, report, "queued; it goes out with the next drain")


@app.command("mark-sent")
def mark_sent(message_id: MessageArgument, as_json: JsonFlag = False) -> None:
    """State that a mail of unknown outcome has arrived, so that it is not sent again."""
    output = Output(as_json)
    with opened_store() as store, store.database.write() as session:
        report = operator.mark_sent(session, message_id)
    _show(output, message_id, report, str(report.status))


@app.command("cancel")
def cancel(message_id: MessageArgument, as_json: JsonFlag = False) -> None:
    """Send a mail to nobody else; what is past its final dot cannot be called back."""
    output, settings = Output(as_json), load_settings()
    with opened_store(settings) as store:
        was_open = _report(store, message_id).open
        driver = _driver(store, message_id) if was_open else None
        if driver is not None:
            asyncio.run(_stop(settings, driver))
        with store.database.write() as session:
            if was_open and not ledger.report(session, _delivery_id(session, message_id)).open:
                report = operator.cancelled_elsewhere(session, message_id)
            else:
                report = operator.cancel(session, message_id)
    _show(output, message_id, report, _AFTER_CANCEL.get(report.status, str(report.status)))


_AFTER_CANCEL = {
    MessageStatus.UNKNOWN: "it was past its final dot: nobody knows yet whether it arrives",
    MessageStatus.SENT: "too late: it was past its final dot, and is sent",
    MessageStatus.PARTIALLY_SENT: "some recipients had been sent to; the others are not",
}


async def _stop(settings: Settings, driver: str) -> None:
    """Cancel the workflow that sends a mail and wait until it has closed the ledger."""
    commands = await connected(settings)
    await commands.cancel(*parts_of_chain(driver), patience=_PATIENCE)


async def _runs(settings: Settings, driver: str) -> bool:
    commands = await connected(settings)
    return await commands.running(*parts_of_chain(driver))


def _refuse_while_sending(settings: Settings, store: Store, message_id: str) -> None:
    """A workflow that sends the mail, or is still finding out about it, goes first."""
    report, driver = _report(store, message_id), _driver(store, message_id)
    undecided = report.open or report.status is MessageStatus.UNKNOWN
    if driver is None or not undecided or not asyncio.run(_runs(settings, driver)):
        return
    workflow_id, _ = parts_of_chain(driver)
    raise ConnectorError(
        ErrorType.STATE_CONFLICT,
        f"workflow {workflow_id} is sending this mail; wait for it with 'result {workflow_id}', or "
        f"stop it with 'queue cancel {message_id}' first",
        field="message_id",
    )


def _twice(report: DeliveryReport, *, again: bool) -> str | None:
    """What to say before a mail that may arrive, or has arrived, goes out again."""
    states = [r.state for r in report.recipients]
    sent, unknown = states.count(RecipientState.SENT), states.count(RecipientState.UNKNOWN)
    if again and sent:
        return f"{sent} of {len(states)} recipients got this mail, and get it a second time"
    if unknown:
        return f"{unknown} of {len(states)} recipients may have got this mail, and may get it twice"
    return None


def _driver(store: Store, message_id: str) -> str | None:
    with store.database.read() as session:
        return operator.driver_of(session, operator.delivery_of(session, message_id))


def _report(store: Store, message_id: str) -> DeliveryReport:
    with store.database.read() as session:
        return ledger.report(session, _delivery_id(session, message_id))


def _delivery_id(session: Session, message_id: str) -> str:
    return operator.delivery_of(session, message_id).id


def _show(output: Output, message_id: str, report: DeliveryReport, said: str) -> None:
    if output.as_json:
        output.document({"message_id": message_id, **report.model_dump(mode="json")})
        return
    output.console.print(said, soft_wrap=True)
    output.table(
        "",
        ["recipient", "state", "code"],
        [[r.address, r.state, r.code] for r in report.recipients],
    )
