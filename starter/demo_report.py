"""What the demo has shown, for people and for programs."""

from __future__ import annotations

from pydantic import BaseModel

from models.errors import ConnectorError, ErrorType
from models.mailbox import RetrieveEmailMessagesResult
from starter.output import Output


class DemoMail(BaseModel):
    """The way of one mail; None where it did not arrive."""

    subject: str
    sent: str
    received: str | None
    stored: str | None
    taken: bool
    moved_to: str | None

    @property
    def complete(self) -> bool:
        """Whether it went all the way."""
        return bool(self.sent.startswith("sent") and self.received and self.taken and self.moved_to)


class DemoReport(BaseModel):
    """The whole demo."""

    seconds: float
    mails: list[DemoMail]
    retrieved: RetrieveEmailMessagesResult
    callbacks: int
    data_dir: str
    temporal_port: int
    ui_port: int
    links: dict[str, str]

    def check(self) -> None:
        """Raise unless every mail went all the way."""
        lost = [number for number, mail in enumerate(self.mails, 1) if not mail.complete]
        if lost:
            raise ConnectorError(
                ErrorType.INTERNAL, f"mails {lost} of the demo did not go all the way"
            )


def show(output: Output, report: DemoReport) -> None:
    """Print the report for a person; nothing when a program reads it."""
    if output.as_json:
        return
    output.table(
        "Each mail: sent by SMTP, stored, handed to the callback, moved on the server",
        ["mail", "sent", "stored", "callback", "moved to"],
        [[m.subject, m.sent, m.stored, m.taken, m.moved_to] for m in report.mails],
    )
    result = report.retrieved
    lines = [
        f"{len(report.mails)} sent, {result.retrieved} received in {result.batches} batches, "
        f"{report.callbacks} callbacks completed in another process, {result.handled} moved, in "
        f"{report.seconds:.1f} s.",
        f"Stored in {report.data_dir}/email-connector.db",
        "",
        "The runs in Temporal's UI:",
        *(f"  {name}: {link}" for name, link in report.links.items()),
        "The UI is up again, with these runs, after:",
        f"  EMAIL_CONNECTOR_DATA_DIR={report.data_dir} python -m starter up "
        f"--port {report.temporal_port} --ui-port {report.ui_port}",
    ]
    for line in lines:
        output.console.print(line, soft_wrap=True)
