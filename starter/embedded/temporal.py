"""Temporal's development server with our search attributes, on usual ports where they are free."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.errors import ConnectorError, ErrorType
from models.names import SearchAttribute
from tools.servers.process import free_port, greets
from tools.temporal.devserver import DevServer
from tools.temporal.resolve import resolve

FRONTEND_PORT = 7233
UI_PORT = 8233
_SILENT_REPORTS = ("TEMPORAL_CLI is not set", "no temporal on PATH", "using ")


def development_server(
    directory: Path,
    report: Callable[[str], None],
    *,
    port: int | None = None,
    ui_port: int | None = None,
) -> DevServer:
    """Return a server, not started yet, whose database lies in ``directory``.

    Args:
        directory: Where its SQLite file and its log go.
        report: Told what takes long: a download or a build of the Temporal CLI.
        port: The frontend's port; by default 7233, or a free one.
        ui_port: The UI's port; by default 8233, or a free one.

    Raises:
        ConnectorError: ``InvalidInput`` when a given port is in use.
    """
    for option, wanted in (("--port", port), ("--ui-port", ui_port)):
        if wanted is not None and greets(wanted):
            # Another server would answer in the place of ours.
            raise ConnectorError(
                ErrorType.INVALID_INPUT, f"port {wanted} is in use; give another", field=option
            )

    def report_long_work(line: str) -> None:
        if not line.startswith(_SILENT_REPORTS):
            report(f"Temporal: {line}")

    return DevServer(
        directory,
        binary=resolve(report_long_work),
        ui=True,
        port=port or _usual(FRONTEND_PORT),
        ui_port=ui_port or _usual(UI_PORT),
        search_attributes=dict.fromkeys(SearchAttribute, "Keyword"),
    )


def run_url(ui_url: str, workflow_id: str, run_id: str) -> str:
    """Return the page of a run in Temporal's UI."""
    escaped = workflow_id.replace("/", "%2F")
    return f"{ui_url}/namespaces/default/workflows/{escaped}/{run_id}/history"


def _usual(port: int) -> int:
    return free_port() if greets(port) else port
