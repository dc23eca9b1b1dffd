"""`serve`: content links and the codec of Temporal's UI and CLI, over HTTP."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from starter.connection import load_settings


def serve(
    host: Annotated[
        str | None, typer.Option("--host", help="Address; by default EMAIL_CONNECTOR_HTTP_HOST.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="Port; by default EMAIL_CONNECTOR_HTTP_PORT.")
    ] = None,
    temporal_ui: Annotated[
        str | None,
        typer.Option(
            "--temporal-ui",
            metavar="URL",
            help="Temporal's UI, to be shown with the codec under one origin (--temporal-ui-port).",
        ),
    ] = None,
    temporal_ui_port: Annotated[
        int, typer.Option("--temporal-ui-port", help="Port where that is shown.")
    ] = 8233,
) -> None:
    """Serve content links and the codec of Temporal's UI and CLI, until Ctrl-C."""
    from starter.endpoints.server import UiFront, serve
    from starter.host.logs import configure

    given = {"http_host": host, "http_port": port}
    settings = load_settings().model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    configure(settings)
    ui = UiFront(temporal_ui_port, temporal_ui) if temporal_ui else None
    asyncio.run(serve(settings, ui=ui))
