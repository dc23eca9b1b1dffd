"""One HTTP process: content, codec, health, and Temporal's UI before the development server."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from activities.crypto.keyring import load_codec_token, load_keyring
from activities.store.assembly import Store, open_store
from models.errors import ConnectorError, ErrorType
from models.settings import Settings
from models.wire import AesGcmCodec
from starter.endpoints.access import CodecAccess
from starter.endpoints.answers import KIND, AccessLog, errors_as_json, protect, server_log
from starter.endpoints.codec import BODY_BYTES, CodecEndpoint
from starter.endpoints.content import ContentEndpoint
from starter.endpoints.pieces import Pieces
from starter.endpoints.sign_in import SignIn
from starter.endpoints.temporal_ui import TemporalUi

_log = logging.getLogger("endpoints")


@dataclass(frozen=True, slots=True)
class UiFront:
    """Temporal's UI under the codec's origin.

    Args:
        port: Where browsers find it, on the same host as all else.
        upstream: Where the UI itself is.
    """

    port: int
    upstream: str


@asynccontextmanager
async def serving(
    settings: Settings, store: Store, *, ui: UiFront | None = None
) -> AsyncIterator[int]:
    """Serve while the block runs; gives the port.

    Raises:
        ConnectorError: ``InvalidInput`` when a port is in use.
    """
    pieces = Pieces(store)
    access = CodecAccess(load_codec_token(settings))
    fronts = [f"http://{settings.http_host}:{ui.port}"] if ui else []
    origins = [*fronts, *(origin.rstrip("/") for origin in settings.codec_origins)]
    codec = _codec(settings, access, origins)
    secure = settings.public_url.lower().startswith("https:")
    sign_in = SignIn(access, ui=origins[0] if origins else "", secure=secure)
    app = _application()
    _add_health(app, pieces)
    ContentEndpoint(store.links, pieces).add_to(app)
    codec.add_to(app)
    sign_in.add_to(app)
    async with AsyncExitStack() as stack:
        stack.callback(pieces.close)
        grace = settings.shutdown_seconds
        port = await _listen(stack, app, settings.http_host, settings.http_port, grace)
        if ui:
            front = _application()
            codec.add_to(front)
            sign_in.add_to(front)
            TemporalUi(ui.upstream).add_to(front)
            await _listen(stack, front, settings.http_host, ui.port, grace)
        yield port


async def serve(settings: Settings, *, ui: UiFront | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    store = open_store(settings)
    try:
        async with serving(settings, store, ui=ui) as port:
            _log.info("endpoints ready on %s port %d", settings.http_host, port)
            await stop.wait()
    finally:
        store.close()


def _application() -> web.Application:
    app = web.Application(middlewares=[errors_as_json], client_max_size=BODY_BYTES)
    app.on_response_prepare.append(protect)
    return app


def _codec(settings: Settings, access: CodecAccess, origins: list[str]) -> CodecEndpoint:
    # Also where new payloads stay clear there may be older ones that did not.
    keys = load_keyring(settings.model_copy(update={"payload_encryption": "on"})).payloads
    return CodecEndpoint(
        AesGcmCodec(keys or {}),
        encrypts=settings.payload_encryption == "on",
        access=access,
        origins=origins,
    )


def _add_health(app: web.Application, pieces: Pieces) -> None:
    async def alive(request: web.Request) -> web.Response:
        request[KIND] = "health"
        return web.Response(text="ok\n")

    async def ready(request: web.Request) -> web.Response:
        request[KIND] = "health"
        await pieces.answers()
        return web.Response(text="ok\n")

    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", ready)


async def _listen(
    stack: AsyncExitStack, app: web.Application, host: str, port: int, grace: float
) -> int:
    runner = web.AppRunner(
        app,
        access_log_class=AccessLog,
        access_log=logging.getLogger("endpoints.access"),
        logger=server_log(),
        max_line_size=8190,
        max_field_size=8190,
        max_headers=100,
        shutdown_timeout=grace,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise ConnectorError(
            ErrorType.INVALID_INPUT,
            f"nothing can listen on {host} port {port} (error {error.errno}); give another",
            field="EMAIL_CONNECTOR_HTTP_PORT",
        ) from None
    return int(runner.addresses[0][1])
