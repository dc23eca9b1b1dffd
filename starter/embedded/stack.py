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
from starter.embedded.mail import MailServer
from starter.embedded.temporal import FRONTEND_PORT, UI_PORT, development_server, usual_port
from starter.embedded.worker import Worker
from tools.servers.process import ChildServer, ServerError
from tools.temporal.devserver import DevServer


@dataclass(frozen=True)
class Stack:
    """What is running."""

    settings: Settings
    temporal: DevServer
    worker: Worker
    mailserver: MailServer | None
    children: tuple[ChildServer, ...]

    @property
    def ui_url(self) -> str:
        """Where Temporal's UI is."""
        return self.temporal.ui_url or ""

    @property
    def mail(self) -> MailServerFacts | None:
        """Where the mail server listens, when there is one."""
        return self.mailserver.facts if self.mailserver else None

    def wait(self) -> None:
        """Wait until the worker works, after which everything does.

        Raises:
            ServerError: It did not start; the message ends with its log.
        """
        self.worker.wait()
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
    """Run Temporal, a mail server and the worker while the block runs.

    The worker may still be starting when the block begins: ``Stack.wait`` says when it is not.

    Args:
        settings: Where the data lies; Temporal's address in it is replaced.
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
        temporal = development_server(
            data / "temporal",
            report,
            port=stack.enter_context(usual_port(FRONTEND_PORT, port)),
            ui_port=stack.enter_context(usual_port(UI_PORT, ui_port)),
        )
        children.append(stack.enter_context(temporal))
        report("starting the worker")
        settings = settings.model_copy(
            update={"data_dir": data, "temporal_address": temporal.address}
        )
        worker = Worker(data / "worker", settings, ours_only=ours_only)
        stack.callback(worker.stop)
        worker.launch()
        children.append(worker)
        if mailserver:
            mailserver.wait()
        yield Stack(settings, temporal, worker, mailserver, tuple(children))


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
