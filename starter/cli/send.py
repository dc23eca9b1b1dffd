"""`send`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from models.account import UnknownPolicy
from models.base import Payload
from models.callback import CallbackKind
from models.delivery import MessageStatus, SendEmailInput, SendEmailResult
from models.message import MAX_INLINE_BYTES, AttachmentPosition
from starter.attachments import File, attach
from starter.cli import queue_flags, send_fields
from starter.cli.callbacks import callback_option, callback_spec
from starter.cli.files import invalid, read_text
from starter.cli.waiting import watch_sending
from starter.commands import Run
from starter.connection import connected, load_settings, opened_store
from starter.output import JsonFlag, NoWaitFlag, Output

_Addresses = list[str] | None
_Files = list[Path] | None


def _addresses(option: str, text: str) -> Any:
    return typer.Option(option, metavar="ADDRESSES", help=f"{text}; separated by ; or repeated.")


def _files(option: str, text: str) -> Any:
    return typer.Option(option, metavar="FILE", exists=True, dir_okay=False, help=text)


def send(
    account: Annotated[str, typer.Option("--account", help="Id or name of the account.")],
    to: Annotated[list[str], _addresses("--to", "Recipients")],
    cc: Annotated[_Addresses, _addresses("--cc", "Copies")] = None,
    bcc: Annotated[_Addresses, _addresses("--bcc", "Blind copies")] = None,
    reply_to: Annotated[_Addresses, _addresses("--reply-to", "Where answers go")] = None,
    sender: Annotated[
        str | None, typer.Option("--from", help="Sender; by default the account's address.")
    ] = None,
    subject: Annotated[str, typer.Option("--subject", help="Subject.")] = "",
    html: Annotated[str | None, typer.Option("--html", help="Html body.")] = None,
    html_file: Annotated[
        str | None,
        typer.Option("--html-file", metavar="FILE", help="Html body; - reads standard input."),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Plain text body.")] = None,
    attachments: Annotated[_Files, _files("--attach", "Attach a file; repeatable.")] = None,
    inline: Annotated[
        _Files, _files("--inline", 'Embed a file; html shows it as <img src="cid:mxcid:NAME">.')
    ] = None,
    reply_of: send_fields.ReplyOf = None,
    forward_of: send_fields.ForwardOf = None,
    in_reply_to: send_fields.InReplyTo = None,
    references: send_fields.References = None,
    headers: send_fields.Headers = None,
    list_unsubscribe: send_fields.Unsubscribe = None,
    one_click: send_fields.OneClick = False,
    auto_submitted: send_fields.Automatic = None,
    notify: send_fields.NotifyOn = None,
    ret: send_fields.Return = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option("--idempotency-key", help="The same key never sends a second mail."),
    ] = None,
    unknown_policy: Annotated[
        UnknownPolicy | None,
        typer.Option("--unknown-policy", help="Overrides the account's policy.", metavar="POLICY"),
    ] = None,
    queued: queue_flags.Queued = False,
    priority: queue_flags.Priority = 3,
    send_at: queue_flags.SendAt = None,
    expires_at: queue_flags.ExpiresAt = None,
    on_email_sent: Annotated[
        str | None,
        callback_option(
            CallbackKind.ON_EMAIL_SENT,
            "Workflow to run, or URL to post to, once a server took the mail; append :plain to the "
            "queue of a worker without our payload key.",
        ),
    ] = None,
    on_send_failed: Annotated[
        str | None,
        callback_option(CallbackKind.ON_SEND_FAILED, "The same once it failed or is unknown."),
    ] = None,
    no_wait: NoWaitFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Send a mail; the exit code is 0 only when every recipient's server took it.

    With --queued it is 0 when the mail is in the queue.
    """
    output = Output(as_json)
    if html is not None and html_file is not None:
        raise typer.BadParameter("give --html or --html-file, not both")
    content = read_text(html_file) if html_file is not None else html
    files = [
        *(File(path, AttachmentPosition.INLINE) for path in inline or []),
        *(File(path, AttachmentPosition.NORMAL) for path in attachments or []),
    ]
    message: dict[str, Any] = {
        "to": ";".join(to),
        "cc": ";".join(cc or []),
        "bcc": ";".join(bcc or []),
        "reply_to": ";".join(reply_to or []),
        "subject": subject,
        "content": content,
        "plain_body": text,
        "from_address": sender,
        "reply_of": reply_of,
        "forward_of": forward_of,
        "in_reply_to": in_reply_to,
        "references": references or [],
        "headers": send_fields.headers(headers),
        "list_unsubscribe": send_fields.unsubscribe(list_unsubscribe, one_click=one_click),
        "auto_submitted": auto_submitted,
        "delivery_status": send_fields.reports(notify, ret),
    }
    options = {
        "queued": queued,
        "priority": priority,
        "send_at": send_at,
        "expires_at": expires_at,
        "on_email_sent": callback_spec(on_email_sent),
        "on_send_failed": callback_spec(on_send_failed),
    }
    # Validated without the files first: a mistyped address must not store them.
    request = _request(account, message, idempotency_key, unknown_policy, **options)
    settings = load_settings()
    if files:
        room = MAX_INLINE_BYTES - len(content or "") - len(text or "")
        with opened_store(settings) as store:
            message["attachments"] = attach(files, store, room=room, key=idempotency_key)
        request = _request(account, message, idempotency_key, unknown_policy, **options)

    async def work() -> tuple[Run[SendEmailResult], SendEmailResult | None]:
        commands = await connected(settings)
        run = await commands.send(request)
        if no_wait:
            return run, None
        output.notes.print(f"workflow {run.workflow_id}", style="dim", soft_wrap=True)
        return run, await watch_sending(output, commands, run)

    run, result = asyncio.run(work())
    show_run(output, run, result)
    done = MessageStatus.QUEUED if queued else MessageStatus.SENT
    if result is not None and result.status not in (done, MessageStatus.SENT):
        raise typer.Exit(1)


def _request(
    account: str,
    message: dict[str, Any],
    key: str | None,
    policy: UnknownPolicy | None,
    **options: Any,
) -> SendEmailInput:
    try:
        return SendEmailInput.model_validate(
            {
                "account": account,
                "message": message,
                "idempotency_key": key,
                "unknown_policy": policy,
                **options,
            }
        )
    except ValidationError as error:
        raise invalid(error) from None


def show_run(output: Output, run: Run[Any], result: Payload | None) -> None:
    """Print a run and, when it is over, its result."""
    if output.as_json:
        ids = {"workflow_id": run.workflow_id, "run_id": run.run_id}
        output.document({**ids, **(result.model_dump(mode="json") if result else {})})
    elif result is None:
        output.console.print(f"Started as {run.workflow_id}.", soft_wrap=True)
        output.console.print(
            f"Its result: python -m starter result {run.workflow_id}", soft_wrap=True
        )
    elif isinstance(result, SendEmailResult):
        show_sent(output, result)
    else:
        output.facts("", result.model_dump())


def show_sent(output: Output, result: SendEmailResult) -> None:
    """Print what became of a mail."""
    good = result.status in (MessageStatus.SENT, MessageStatus.QUEUED)
    output.console.print(f"{result.status}", style="green" if good else "red")
    output.table(
        "",
        ["recipient", "state", "the server said"],
        [[r.address, r.state, _said(r.code, r.enhanced_code, r.reply)] for r in result.recipients],
    )
    output.facts(
        "",
        {
            "id": result.message_id,
            "Message-ID": result.internet_message_id,
            "attempts": result.attempts,
            "sent": result.sent_at,
            "copy in Sent": result.sent_copy,
            "error": f"{result.error.type}: {result.error.message}" if result.error else None,
            "not acknowledged": result.callbacks_failed,
        },
    )


def _said(code: int | None, enhanced: str | None, reply: str | None) -> str:
    head = str(code) if code else ""
    if enhanced and not (reply or "").startswith(enhanced):
        head += f" {enhanced}"
    return f"{head} {reply or ''}".strip()
