"""Temporal's UI and the codec server under one origin.

The development server's UI can be told where the codec is, but not to send credentials to another
origin. Behind this pass-through the codec is on the UI's own origin, whose cookies a browser
always sends.
"""

from __future__ import annotations

from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from starter.endpoints.answers import KIND, PASSED_ON, abort, problem

# RFC 9110 §7.6.1, and what this hop sets by itself.
_OF_THE_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "proxy-authenticate", "proxy-authorization", "content-length"}
)
# What the client would otherwise add for itself.
_OF_CLIENTS: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class TemporalUi:
    """Passes every other request on to the UI.

    Args:
        upstream: Where the UI is, for example ``http://127.0.0.1:8234``.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream.rstrip("/")
        self._client: ClientSession | None = None

    def add_to(self, app: web.Application) -> None:
        """Add the route, after all others."""
        app.router.add_route("*", "/{path:.*}", self.pass_on)
        app.on_startup.append(self._open)
        app.on_cleanup.append(self._close)

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on and its answer back, both as they are."""
        request[KIND] = PASSED_ON
        if self._client is None:
            raise RuntimeError("not started")
        try:
            answer = await self._client.request(
                request.method,
                URL(f"{self._upstream}{request.raw_path}", encoded=True),
                headers=_end_to_end(request.headers),
                data=request.content if request.can_read_body else None,
                allow_redirects=False,
                skip_auto_headers=_OF_CLIENTS,
            )
        except ClientError:
            return problem(502, "ConnectionFailed", "Temporal's UI does not answer")
        async with answer:
            response = web.StreamResponse(status=answer.status, headers=_end_to_end(answer.headers))
            response.content_length = answer.content_length
            await response.prepare(request)
            try:
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            except (ClientError, ConnectionError):
                abort(request)  # one of the two has left: too late for a status
            else:
                await response.write_eof()
            return response

    async def _open(self, _app: web.Application) -> None:
        self._client = ClientSession(
            auto_decompress=False,
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=None, sock_connect=10),
            trust_env=False,
        )

    async def _close(self, _app: web.Application) -> None:
        if self._client:
            await self._client.close()


def _end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    kept = CIMultiDict(headers)
    named = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    for name in {each for each in kept if each.lower() in _OF_THE_HOP | named}:
        kept.popall(name, None)
    return kept
