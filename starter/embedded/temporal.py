"""Temporal's development server with our search attributes, on usual ports where they are free."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import ConnectorError, ErrorType
from models.names import SearchAttribute
from tools.servers.process import free_port, greets
from tools.temporal.devserver import DevServer
from tools.temporal.resolve import resolve

FRONTEND_PORT = 7233
UI_PORT = 8233
_SILENT_REPORTS = ("TEMPORAL_CLI is not set", "no temporal on PATH", "using ")


@contextmanager
def usual_port(port: int, wanted: int | None = None) -> Iterator[int]:
    """The port to use: ``wanted``, else the usual one if it is free, else any.

    It stays ours while the block runs: of two processes that start at once, only one gets the
    usual port, and neither takes the other's server for its own.

    Raises:
        ConnectorError: ``InvalidInput`` when ``wanted`` is in use.
    """
    if wanted is not None and greets(wanted):
        raise ConnectorError(
            ErrorType.INVALID_INPUT, f"port {wanted} is in use; give another", field="port"
        )
    if wanted is not None:
        yield wanted
        return
    lock = Path(tempfile.gettempdir()) / f"email-connector-{os.getuid()}-{port}.lock"
    # O_NOFOLLOW: the folder is everybody's.
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = not greets(port)
        except BlockingIOError:
            free = False
        yield port if free else free_port()
    finally:
        os.close(handle)


def development_server(
    directory: Path,
    report: Callable[[str], None],
    *,
    port: int,
    ui_port: int,
    codec_endpoint: str,
) -> DevServer:
    """Return a server, not started yet, whose database lies in ``directory``.

    Args:
        directory: Where its SQLite file and its log go.
        report: Told what takes long: a download or a build of the Temporal CLI.
        port: The frontend's port.
        ui_port: The UI's port.
        codec_endpoint: Where the UI's pages find the codec server.
    """

    def report_long_work(line: str) -> None:
        if not line.startswith(_SILENT_REPORTS):
            report(f"Temporal: {line}")

    return DevServer(
        directory,
        binary=resolve(report_long_work),
        ui=True,
        port=port,
        ui_port=ui_port,
        ui_codec_endpoint=codec_endpoint,
        search_attributes=dict.fromkeys(SearchAttribute, "Keyword"),
    )
