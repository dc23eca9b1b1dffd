"""`up`: everything on this machine, until Ctrl-C."""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from activities.crypto.keyring import codec_token_file, load_codec_token
from models.errors import ConnectorError, ErrorType
from models.settings import Settings
from starter.embedded.credentials import SENT
from starter.embedded.stack import Stack, running
from starter.endpoints.access import CodecAccess
from starter.output import Output
from tools.servers.process import ChildServer

_LOOK_SECONDS = 0.3
_TAIL_LINES = 15


def up(
    output: Output,
    settings: Settings,
    *,
    with_mail: bool = True,
    port: int | None = None,
    ui_port: int | None = None,
) -> None:
    """Run until Ctrl-C or SIGTERM.

    Nothing is restarted: whoever runs this should see that a part died, and why.

    Raises:
        ConnectorError: A part ended by itself.
    """
    with (
        stopped_by_sigterm(),
        output.notes.status("starting…") as status,
        running(settings, status.update, with_mail=with_mail, port=port, ui_port=ui_port) as stack,
    ):
        stack.wait()
        status.stop()
        if output.as_json:
            output.document(_facts(stack))
        else:
            _explain(output, stack)
        try:
            dead = _first_death(stack)
        except KeyboardInterrupt:
            output.notes.print("stopping…")
            return
        raise _ended(dead)


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Make SIGTERM what Ctrl-C is, so that the children are stopped in order."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _first_death(stack: Stack) -> ChildServer:
    while (dead := stack.dead()) is None:
        time.sleep(_LOOK_SECONDS)
    return dead


def _ended(child: ChildServer) -> ConnectorError:
    lines = child.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    return ConnectorError(
        ErrorType.INTERNAL,
        f"the {child.name} ended by itself, so everything was stopped; {child.log} ends with: "
        + " | ".join(lines)[-700:],
    )


def _facts(stack: Stack) -> dict[str, object]:
    return {
        "temporal_address": stack.temporal.address,
        "temporal_ui": stack.ui_url,
        "sign_in": _sign_in(stack),
        "codec_endpoint": stack.codec_endpoint,
        "content_url": stack.settings.public_url,
        "data_dir": str(stack.settings.data_dir),
        "mail": stack.mail.model_dump() if stack.mail else None,
        "environment": _environment(stack),
        "pids": {child.name: child.pid for child in stack.children},
    }


def _environment(stack: Stack) -> dict[str, str]:
    return {
        "TEMPORAL_ADDRESS": stack.temporal.address,
        "EMAIL_CONNECTOR_DATA_DIR": str(stack.settings.data_dir),
        "EMAIL_CONNECTOR_PUBLIC_URL": stack.settings.public_url,
        "EMAIL_CONNECTOR_TEMPORAL_UI_URL": stack.ui_url,
    }


def _sign_in(stack: Stack) -> str:
    """A link that lets one browser read payloads in Temporal's UI; it works once."""
    invitation = CodecAccess(load_codec_token(stack.settings)).invitation()
    return f"{stack.ui_url}/codec/login#{invitation}"


def _codec_auth(stack: Stack) -> str:
    """The token as a shell finds it: in no line that somebody might copy."""
    if stack.settings.codec_token:
        return "$EMAIL_CONNECTOR_CODEC_TOKEN"
    return f"$(cat {shlex.quote(str(codec_token_file(stack.settings)))})"


def _explain(output: Output, stack: Stack) -> None:
    facts: dict[str, object] = {
        "Temporal": stack.temporal.address,
        "Temporal's UI": stack.ui_url,
        "Content links": stack.settings.public_url,
        "Data": stack.settings.data_dir,
    }
    if mail := stack.mail:
        facts["SMTP"] = f"{mail.host}:{mail.smtp_port}, plain, login needed"
        facts["IMAP"] = f"{mail.host}:{mail.imap_port}, plain, folders INBOX and Archive"
        facts["Mailboxes"] = f"any name @{mail.domain}, kept in memory, password {mail.password}"
    output.facts("email-connector is up; Ctrl-C stops it", facts)
    lines = ["", "To read payloads in Temporal's UI, open this once in your browser:", ""]
    lines += [f"  {_sign_in(stack)}", "", "In another shell:", ""]
    lines += [f"  export {name}={value}" for name, value in _environment(stack).items()]
    if mail:
        lines += [
            f"  echo '{mail.password}' | python -m starter account add --name me "
            f"--email me@{mail.domain} --password-stdin \\",
            f"    --smtp-host {mail.host} --smtp-port {mail.smtp_port} --smtp-security none \\",
            f"    --imap-host {mail.host} --imap-port {mail.imap_port} --imap-security none "
            f"--sent-folder {SENT}",
            f"  python -m starter send --account me --to you@{mail.domain} "
            "--subject Hello --text 'Hello!'",
            f"  python -m starter send --account me --to me@{mail.domain} "
            "--subject 'To myself' --html '<p>Hello!</p>'",
            "  python -m starter retrieve --account me --handling move --move-folder Archive",
            "  python -m starter message list",
        ]
    lines += [
        "  temporal workflow list",
        f"  temporal workflow show --codec-endpoint {stack.codec_endpoint} "
        f'--codec-auth "Bearer {_codec_auth(stack)}" --workflow-id WORKFLOW_ID',
    ]
    for line in lines:
        output.console.print(line, soft_wrap=True)
