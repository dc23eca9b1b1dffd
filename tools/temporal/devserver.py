"""Temporal's development server on loopback ports and a SQLite file."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.servers.process import LOOPBACK, ChildServer, free_port, greets
from tools.temporal.resolve import resolve

_DYNAMIC_CONFIG = {
    # Every step of every workflow goes through the queues of the one shard this server has. By
    # default they are read 20 times a second at most, which makes each step last 50 ms.
    "history.transferProcessorMaxPollRPS": "500",
    "history.visibilityProcessorMaxPollRPS": "500",
    "history.timerProcessorMaxPollRPS": "500",
}


class DevServer(ChildServer):
    """A `temporal server start-dev` process; a context manager.

    Args:
        directory: where its database and log go.
        binary: the Temporal CLI; found by `resolve()` when not given.
        ui: whether to serve the Web UI too.
        port: the frontend's port; a free one when not given.
        ui_port: the Web UI's port; a free one when not given.
        ui_codec_endpoint: the codec server that the Web UI asks, as browsers reach it.
        dynamic_config: dynamic configuration beyond our own, as JSON values by key.
        search_attributes: types by name, for example `{"EmailAccount": "Keyword"}`.
        namespaces: namespaces to have besides `default`.
    """

    name = "temporal"
    start_timeout = 60.0

    def __init__(
        self,
        directory: Path,
        *,
        binary: Path | None = None,
        ui: bool = False,
        port: int | None = None,
        ui_port: int | None = None,
        ui_codec_endpoint: str | None = None,
        dynamic_config: Mapping[str, str] | None = None,
        search_attributes: Mapping[str, str] | None = None,
        namespaces: Sequence[str] = (),
    ) -> None:
        super().__init__(directory)
        self._binary = binary
        self._dynamic_config = {**_DYNAMIC_CONFIG, **(dynamic_config or {})}
        self._search_attributes = dict(search_attributes or {})
        self._namespaces = list(namespaces)
        self.database = directory / "temporal.db"
        self.port = port or free_port()
        self.ui_port = (ui_port or free_port()) if ui else None
        self._ui_codec_endpoint = ui_codec_endpoint

    @property
    def binary(self) -> Path:
        """The Temporal CLI that runs the server."""
        if self._binary is None:
            self._binary = resolve()
        return self._binary

    @property
    def address(self) -> str:
        """What a Temporal client connects to."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def ui_url(self) -> str | None:
        """The address of the Web UI; `None` when headless."""
        return None if self.ui_port is None else f"http://{LOOPBACK}:{self.ui_port}"

    def _prepare(self) -> None:
        # Found before the start, so that a long build does not count as a slow start.
        _ = self.binary

    def _command(self) -> list[str]:
        command = [str(self.binary), "server", "start-dev", "--ip", LOOPBACK]
        command += ["--port", str(self.port), "--log-level", "warn"]
        command += ["--db-filename", str(self.database)]
        # Three times the throughput of the file's default settings.
        command += ["--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL"]
        command += ["--headless"] if self.ui_port is None else ["--ui-port", str(self.ui_port)]
        if self._ui_codec_endpoint:
            command += ["--ui-codec-endpoint", self._ui_codec_endpoint]
        for key, value in self._dynamic_config.items():
            command += ["--dynamic-config-value", f"{key}={value}"]
        for name, kind in self._search_attributes.items():
            command += ["--search-attribute", f"{name}={kind}"]
        for namespace in self._namespaces:
            command += ["--namespace", namespace]
        return command

    def _ready(self) -> bool:
        if not greets(self.port) or (self.ui_port is not None and not greets(self.ui_port)):
            return False
        # An open port is not yet a frontend that knows its namespaces.
        return all(self._knows(namespace) for namespace in ["default", *self._namespaces])

    def _knows(self, namespace: str) -> bool:
        command = [str(self.binary), "operator", "namespace", "describe", "--namespace", namespace]
        # The user's own profile may point at another server, with TLS and keys.
        command += ["--address", self.address, "--disable-config-file", "--disable-config-env"]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=10,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0
