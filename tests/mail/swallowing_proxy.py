"""A TCP proxy that can swallow what passes: both ends stay connected and hear nothing."""

from __future__ import annotations

import asyncio
from typing import Self


class SwallowingProxy:
    """Forwards to a port until ``swallows`` is set; a context manager on the running loop."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.swallows = False
        self.connections = 0
        self._to = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pass(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                if not self.swallows:
                    target.write(data)
            # What is swallowed has no end either.
            while self.swallows:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        finally:
            target.close()
