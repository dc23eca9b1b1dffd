"""`log`: the error log, the e-mail log, and what happened to one mail. Reads the store only."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from sqlmodel import Session

from activities.store import history
from activities.store.assembly import Store
from activities.store.history import DeliveryTrail, MailFilter, StepFilter, Trail
from models.delivery import MessageStatus
from models.errors import ErrorType
from models.names import Direction
from starter.cli.moments import SinceOption, UntilOption
from starter.connection import opened_store
from starter.output import JsonFlag, Output

app = typer.Typer(help="What happened: errors, mails, steps.", no_args_is_help=True)

AccountOption = Annotated[
    str | None,
    typer.Option("--account", help="Id or name of the account; a deleted one by its id."),
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")]
_HIDDEN = {"request_hash", "callbacks", "identity"}


@app.command("errors")
def errors(
    account: AccountOption = None,
    kind: Annotated[
        ErrorType | None, typer.Option("--type", metavar="TYPE", help="One of docs/errors.md.")
    ] = None,
    message: Annotated[
        str | None, typer.Option("--message", help="Only errors about this mail, by its id.")
    ] = None,
    event: Annotated[
        str | None, typer.Option("--event", help="Only this step: attempt_ended, webhook_dead, …")
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    before: Annotated[
        int | None, typer.Option("--before", min=1, help="The next page: below this id.")
    ] = None,
    limit: LimitOption = 50,
    as_json: JsonFlag = False,
) -> None:
    """List what went wrong, the latest first, and what to do about it."""
    output = Output(as_json)
    with opened_store() as store, store.database.read() as session:
        wanted = StepFilter(
            account_id=_account_id(store, session, account),
            message_id=message,
            event=event,
            error_type=kind,
            errors=True,
            since=since,
            until=until,
            before=before,
        )
        found = [history.logged_error(s) for s in history.steps(session, wanted, limit=limit)]
    if as_json:
        output.document(found)
        return
    output.table(
        "",
        ["no", "when", "error", "step", "explanation", "what to do", "mail"],
        [[e.id, e.at, e.type, e.event, e.explanation, e.what_to_do, e.message_id] for e in found],
    )


@app.command("mails")
def mails(
    account: AccountOption = None,
    status: Annotated[
        MessageStatus | None, typer.Option("--status", help="How the mail stands.")
    ] = None,
    direction: Annotated[
        Direction | None, typer.Option("--direction", help="Which way it travels.")
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    before: Annotated[
        str | None, typer.Option("--before", help="The next page: older than this mail.")
    ] = None,
    limit: LimitOption = 50,
    as_json: JsonFlag = False,
) -> None:
    """List mails sent and received, the latest first, and how they stand."""
    output = Output(as_json)
    with opened_store() as store, store.database.read() as session:
        wanted = MailFilter(
            account_id=_account_id(store, session, account),
            direction=direction,
            status=status,
            since=since,
            until=until,
            before=before,
        )
        found = history.mails(session, wanted, limit=limit)
    if as_json:
        output.document(
            [
                {
                    **m.model_dump(mode="json", exclude=_HIDDEN),
                    "attempts": d.attempts if d else None,
                    "next_attempt_at": d.next_attempt_at.isoformat()
                    if d and d.next_attempt_at
                    else None,
                    "held_reason": d.held_reason if d else None,
                }
                for m, d in found
            ]
        )
        return
    output.table(
        "",
        ["id", "way", "status", "when", "tried", "held", "from", "to", "subject"],
        [
            [
                m.id,
                m.direction,
                m.status,
                m.sent_at or m.created_at,
                d.attempts if d else "",
                d.held_reason if d else "",
                m.sender,
                m.to,
                m.subject,
            ]
            for m, d in found
        ],
    )


@app.command("show")
def show(
    message_id: Annotated[str, typer.Argument(help="Id of the mail.")], as_json: JsonFlag = False
) -> None:
    """Show everything that happened to a mail: recipients, attempts, steps."""
    output = Output(as_json)
    with opened_store() as store, store.database.read() as session:
        trail = history.trail(session, message_id)
    if as_json:
        output.document(_document(trail))
        return
    message = trail.message
    output.facts(
        "",
        {
            "id": message.id,
            "account": message.account_id,
            "status": f"{message.direction}, {message.status}",
            "Message-ID": message.internet_message_id,
            "stored": message.created_at,
            "sent": message.sent_at,
        },
    )
    for each in trail.deliveries:
        _show_delivery(output, each)
    output.table(
        "Steps",
        ["when", "step", "error", "detail"],
        [[s.at, s.event, s.error_type, _detail(s.detail)] for s in trail.steps],
    )


def _show_delivery(output: Output, trail: DeliveryTrail) -> None:
    delivery = trail.delivery
    output.facts(
        "Delivery",
        {
            "state": delivery.state,
            "queued": delivery.queued,
            "next attempt": delivery.next_attempt_at,
            "held": delivery.held_reason,
        },
    )
    output.table(
        "Recipients",
        ["no", "recipient", "state", "code", "the server said"],
        [
            [r.number, r.address, r.state, _code(r.code, r.enhanced_code), r.reply]
            for r in trail.recipients
        ],
    )
    output.table(
        "Attempts",
        ["began", "ended", "phase", "outcome", "code", "error", "recipients", "dot intended"],
        [
            [
                a.started_at,
                a.ended_at,
                a.phase,
                a.outcome or "under way",
                a.code,
                a.error_type,
                ", ".join(map(str, a.recipients)),
                a.dot_intent_at,
            ]
            for a in trail.attempts
        ],
    )


def _document(trail: Trail) -> dict[str, Any]:
    return {
        **trail.message.model_dump(mode="json", exclude=_HIDDEN),
        "deliveries": [
            {
                **each.delivery.model_dump(mode="json", exclude={"message_id", "account_id"}),
                "recipients": [
                    r.model_dump(mode="json", exclude={"delivery_id"}) for r in each.recipients
                ],
                "attempts": [
                    a.model_dump(mode="json", exclude={"delivery_id"}) for a in each.attempts
                ],
            }
            for each in trail.deliveries
        ],
        "steps": [
            s.model_dump(mode="json", exclude={"account_id", "message_id"}) for s in trail.steps
        ],
    }


def _detail(detail: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in detail.items())


def _code(code: int | None, enhanced: str | None) -> str:
    return f"{code or ''} {enhanced or ''}".strip()


def _account_id(store: Store, session: Session, account: str | None) -> str | None:
    return None if account is None else store.accounts.id_of(session, account)
