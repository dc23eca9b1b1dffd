"""Health for orchestrators: ``/healthz`` (the process turns) and ``/readyz`` (it can work)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

from aiohttp import web
from temporalio.client import Client

from activities.store.engine import Database
from models.errors import ConnectorError, ErrorType

_PATIENCE_SECONDS = 3.0

Check = Callable[[], Awaitable[bool]]


@asynccontextmanager
async def health_served(address: str | None, checks: Mapping[str, Check]) -> AsyncIterator[None]:
    """Answer on ``address`` (HOST:PORT) while the block runs; without one, do nothing.

    Raises:
        ConnectorError: The address cannot be listened on.
    """
    if not address:
        yield
        return
    host, _, port = address.rpartition(":")
    runner = web.AppRunner(application(checks), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        except OSError:
            raise ConnectorError(
                ErrorType.INVALID_INPUT,
                f"cannot listen on {address}; each worker of a machine needs a port of its own",
                field="EMAIL_CONNECTOR_HEALTH_ADDRESS",
            ) from None
        yield
    finally:
        await runner.cleanup()


def application(checks: Mapping[str, Check]) -> web.Application:
    """Return the two pages over ``checks``, by the name of the part each looks at."""
    looks = {name: _Look(check) for name, check in checks.items()}

    async def alive(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def ready(_: web.Request) -> web.Response:
        answers = await asyncio.gather(*(look.passes() for look in looks.values()))
        parts = {
            name: "ok" if passed else "failed" for name, passed in zip(looks, answers, strict=True)
        }
        works = all(answers)
        return web.json_response(
            {"status": "ready" if works else "not ready", "parts": parts},
            status=200 if works else 503,
        )

    app = web.Application()
    app.add_routes([web.get("/healthz", alive), web.get("/readyz", ready)])
    return app


class _Look:
    """A check with a time limit, once at a time: a part that hangs is not asked again by others."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._running: asyncio.Task[bool] | None = None

    async def passes(self) -> bool:
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._safely())
        done, _ = await asyncio.wait({self._running}, timeout=_PATIENCE_SECONDS)
        return bool(done) and self._running.result()

    async def _safely(self) -> bool:
        try:
            return await self._check()
        except Exception:  # noqa: BLE001 - whatever it is, the part is not ready; its text stays here
            return False


# --- The parts ----------------------------------------------------------------------------------


def temporal_answers(client: Client) -> Check:
    """Whether Temporal's frontend is reachable and serves."""

    async def check() -> bool:
        limit = timedelta(seconds=_PATIENCE_SECONDS)
        return await client.service_client.check_health(timeout=limit)

    return check


def database_answers(database: Database) -> Check:
    """Whether the database answers."""

    async def check() -> bool:
        # Not on the store's own readers: a database that hangs must not cost sending its threads.
        await asyncio.to_thread(database.ask)
        return True

    return check
