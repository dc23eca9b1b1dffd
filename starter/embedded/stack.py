"""Everything that runs embedded, started in order and stopped in reverse."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.errors import ConnectorError, ErrorType
from models.settings import Settings
from starter.embedded.credentials import MailServerFacts
from starter.embedded.endpoints import Endpoints
from starter.embedded.mail import MailServer
from starter.embedded.temporal import FRONTEND_PORT, UI_PORT, development_server, usual_port
from starter.embedded.worker import Worker
from tools.servers.process import LOOPBACK, ChildServer, ServerError, free_port
from tools.temporal.devserver import DevServer

HTTP_PORT = 8089
"""Of the endpoints."""


@dataclass(frozen=True)
class Stack:
    """What is running."""

    settings: Settings
    temporal: DevServer
    worker: Worker
    endpoints: Endpoints
    ui_port: int
    mailserver: MailServer | None
    children: tuple[ChildServer, ...]

    @property
    def ui_url(self) -> str:
        """Where Temporal's UI is, with the codec server beside it."""
        return f"http://{LOOPBACK}:{self.ui_port}"

    @property
    def codec_endpoint(self) -> str:
        """Where programs find the codec server."""
        return f"http://{self.settings.http_host}:{self.settings.http_port}/codec"

    @property
    def mail(self) -> MailServerFacts | None:
        """Where the mail server listens, when there is one."""
        return self.mailserver.facts if self.mailserver else None

    def wait(self) -> None:
        """Wait until everything works.

        Raises:
            ServerError: It did not start; the message ends with its log.
        """
        self.worker.wait()
        self.endpoints.wait()
        if dead := self.dead():
            raise ServerError(f"{dead.name} ended while the rest was starting; see {dead.log}")

    def dead(self) -> ChildServer | None:
        """Return a child that has ended by itself, if there is one."""
        return next((child for child in self.children if not child.running), None)


@contextmanager
def running(
    settings: Settings,
    report: Callable[[str], None],
    *,
    with_mail: bool = True,
    ours_only: bool = False,
    port: int | None = None,
    ui_port: int | None = None,
) -> Iterator[Stack]:
    """Run Temporal, a mail server, the worker and the endpoints while the block runs.

    Our own parts may still be starting when the block begins: ``Stack.wait`` says when they are
    not.

    Args:
        settings: Where the data lies; Temporal's address in it is replaced, and addresses of the
            endpoints that the user has not chosen.
        report: Told what is being started.
        with_mail: Whether to run the mail server.
        ours_only: Whether the worker ignores settings in the user's environment.
        port: Port of Temporal's frontend.
        ui_port: Port of Temporal's UI.

    Raises:
        ServerError: A part did not start; the message ends with its log.
    """
    data = settings.data_dir.absolute()
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as stack:
        stack.enter_context(_only_one(data / "up.lock"))
        report("starting Temporal")
        mailserver = MailServer(data / "mailserver") if with_mail else None
        children: list[ChildServer] = []
        if mailserver:
            stack.callback(mailserver.stop)
            mailserver.launch()
            children.append(mailserver)
        shown_at = stack.enter_context(usual_port(UI_PORT, ui_port))
        temporal = development_server(
            data / "temporal",
            report,
            port=stack.enter_context(usual_port(FRONTEND_PORT, port)),
            ui_port=free_port(),
            codec_endpoint=f"http://{LOOPBACK}:{shown_at}/codec",
        )
        children.append(stack.enter_context(temporal))
        report("starting the worker")
        http_port = stack.enter_context(usual_port(HTTP_PORT, _chosen_port(settings, ours_only)))
        settings = _placed(settings, data, temporal.address, http_port, ours_only=ours_only)
        worker = Worker(data / "worker", settings, ours_only=ours_only)
        endpoints = Endpoints(
            data / "endpoints",
            settings,
            ui_port=shown_at,
            ui_upstream=temporal.ui_url or "",
            ours_only=ours_only,
        )
        for child in (worker, endpoints):
            stack.callback(child.stop)
            child.launch()
            children.append(child)
        if mailserver:
            mailserver.wait()
        yield Stack(settings, temporal, worker, endpoints, shown_at, mailserver, tuple(children))


def _chosen_port(settings: Settings, ours_only: bool) -> int | None:
    chosen = "http_port" in settings.model_fields_set and not ours_only
    return settings.http_port if chosen else None


def _placed(
    settings: Settings, data: Path, temporal: str, http_port: int, *, ours_only: bool
) -> Settings:
    """The settings as the parts of this stack find each other."""
    changes: dict[str, object] = {
        "data_dir": data,
        "temporal_address": temporal,
        "http_host": LOOPBACK,
        "http_port": http_port,
    }
    if ours_only or "public_url" not in settings.model_fields_set:
        changes["public_url"] = f"http://{LOOPBACK}:{http_port}"
    return settings.model_copy(update=changes)


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold the folder: two servers on one database file would damage it."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConnectorError(
                ErrorType.INVALID_INPUT,
                f"'up' is running on {path.parent} already; stop it, or set "
                "EMAIL_CONNECTOR_DATA_DIR to another folder",
                field="EMAIL_CONNECTOR_DATA_DIR",
            ) from None
        yield
