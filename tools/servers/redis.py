"""Redis at its defaults, for benchmarks: the broker of the peers that need one."""

from pathlib import Path

from tools.servers.process import LOOPBACK, ChildServer, free_port, greets


class Redis(ChildServer):
    """A redis-server process; a context manager.

    Args:
        directory: where its snapshots and log go.
    """

    name = "redis"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()

    def _prepare(self) -> None:
        """It makes what it needs."""

    def _command(self) -> list[str]:
        return ["redis-server", "--bind", LOOPBACK, "--port", str(self.port)]

    def _ready(self) -> bool:
        return greets(self.port)
