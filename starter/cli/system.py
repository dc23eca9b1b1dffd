"""`up` and `demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from starter.connection import load_settings
from starter.output import JsonFlag, Output

PortFlag = Annotated[
    int | None,
    typer.Option("--port", help="Port of Temporal; by default 7233, or a free one."),
]
UiPortFlag = Annotated[
    int | None,
    typer.Option("--ui-port", help="Port of Temporal's UI; by default 8233, or a free one."),
]


def up_command(
    no_mail: Annotated[
        bool, typer.Option("--no-mail", help="Without the embedded mail server.")
    ] = False,
    port: PortFlag = None,
    ui_port: UiPortFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Run everything on this machine until Ctrl-C: Temporal, its UI, a mail server, the worker."""
    from starter.up import up

    up(Output(as_json), load_settings(), with_mail=not no_mail, port=port, ui_port=ui_port)


def demo_command(
    stay: Annotated[bool, typer.Option("--stay", help="Stay up afterwards, until Ctrl-C.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show the whole job once: send, deliver, replicate, call back, move; then stop."""
    from starter.demo import demo

    output = Output(as_json)
    report = demo(output, load_settings(), stay=stay)
    report.check()
    if as_json:
        output.document(report)
