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
