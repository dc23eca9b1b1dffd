"""Runs `python -m starter serve` as a child process."""

from __future__ import annotations

from pathlib import Path

from models.settings import Settings
from starter.embedded.child import PythonChild
from starter.embedded.environment import of_child

_READY = "endpoints ready"


class Endpoints(PythonChild):
    """Content links, the codec, and the development server's UI under the codec's origin.

    Args:
        directory: Where its log goes.
        settings: Data folder, public URL and port; everything else it reads by itself.
        ui_port: Where the UI is shown.
        ui_upstream: Where the UI itself is.
        ours_only: Whether settings in the user's environment are left out.
    """

    name = "endpoints"

    def __init__(
        self,
        directory: Path,
        settings: Settings,
        *,
        ui_port: int,
        ui_upstream: str,
        ours_only: bool = False,
    ) -> None:
        arguments = ["-m", "starter", "serve", "--port", str(settings.http_port)]
        arguments += ["--host", settings.http_host]
        arguments += ["--temporal-ui", ui_upstream, "--temporal-ui-port", str(ui_port)]
        super().__init__(directory, arguments, of_child(settings, ours_only=ours_only))

    def _ready(self) -> bool:
        return _READY in self.said()
