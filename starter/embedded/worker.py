"""Runs `worker.py` as a child process."""

from __future__ import annotations

from pathlib import Path

from models.settings import Settings
from starter.embedded.child import ROOT, PythonChild
from starter.embedded.environment import of_child

_READY = "worker ready"


class Worker(PythonChild):
    """The worker against an embedded Temporal server.

    Args:
        directory: Where its log goes.
        settings: Data folder, public URL and Temporal's address; everything else it reads by
            itself.
        ours_only: Whether settings in the user's environment are left out, so that nothing but
            ``settings.data_dir`` is touched.
    """

    name = "worker"

    def __init__(self, directory: Path, settings: Settings, *, ours_only: bool = False) -> None:
        environment = of_child(settings, ours_only=ours_only)
        super().__init__(directory, [str(ROOT / "worker.py")], environment)

    def _ready(self) -> bool:
        return _READY in self.said()
