"""Runs the demo's callback worker as a child process."""

from __future__ import annotations

from pathlib import Path

from starter.embedded.callback_worker import READY
from starter.embedded.child import PythonChild, without_temporal_profile


class CallbackWorker(PythonChild):
    """The demo's consumer.

    Args:
        directory: Where its log goes.
        address: Temporal's frontend.
    """

    name = "callback-worker"

    def __init__(self, directory: Path, address: str) -> None:
        arguments = ["-m", "starter.embedded.callback_worker", "--address", address]
        super().__init__(directory, arguments, without_temporal_profile())

    def _ready(self) -> bool:
        return READY in self.said()
