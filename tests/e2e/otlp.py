"""A receiver of traces by OTLP/HTTP, on loopback."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.e2e.harness import fresh


@dataclass(frozen=True)
class Received:
    """A span as it arrived."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    name: str
    attributes: dict[str, str | int]
    failed: bool


class Receiver:
    """Decodes what arrives and keeps the bytes."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.raw: list[bytes] = []
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.add_routes([web.post("/v1/traces", self._take)])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def endpoint(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT has to be."""
        return f"http://127.0.0.1:{self.port}"

    async def wait_for(self, condition: Callable[[list[Received]], bool]) -> None:
        """Wait until the spans that have arrived are enough."""
        async with asyncio.timeout(60):
            while not condition(self.spans):  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        self.raw.append(body)
        decoded = ExportTraceServiceRequest.FromString(body)
        for resource in decoded.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Received(
                            span.trace_id,
                            span.span_id,
                            span.parent_span_id,
                            span.name,
                            {a.key: _value(a.value) for a in span.attributes},
                            span.status.code == 2,
                        )
                    )
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")


def _value(value: object) -> str | int:
    kind = value.WhichOneof("value")  # type: ignore[attr-defined]
    found: str | int = getattr(value, kind)
    return found


def canary(kind: str) -> str:
    """A word that must not be seen."""
    return fresh(f"canary{kind}")
