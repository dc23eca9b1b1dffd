"""`POST /codec/{encode,decode}`: Temporal's remote codec, for its UI and its CLI.

A browser proves itself with a cookie, which it also sends for other sites' pages: such a request
counts only when it says that it comes from a page of Temporal's UI.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aiohttp import web
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from temporalio.api.common.v1 import Payloads
from temporalio.converter import PayloadCodec

from models.errors import ConnectorError, ErrorType
from starter.endpoints.access import CodecAccess
from starter.endpoints.answers import KIND, problem

COOKIE: Final = "email_connector_codec"
BODY_BYTES: Final = 6 * 1024 * 1024
"""Largest request: Temporal's 4 MB of payloads, as base64 in JSON."""

_HEADERS: Final = "authorization, authorization-extras, content-type, x-namespace"


class CodecEndpoint:
    """Encrypts and decrypts payloads for whoever has access.

    Args:
        codec: Decrypts, and encrypts too unless payloads are encrypted elsewhere.
        encrypts: Whether new payloads are encrypted.
        access: Checks credentials.
        origins: Origins whose pages may use it.
    """

    def __init__(
        self, codec: PayloadCodec, *, encrypts: bool, access: CodecAccess, origins: Iterable[str]
    ) -> None:
        self._codec = codec
        self._encrypts = encrypts
        self._access = access
        self._origins = frozenset(origins)

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        for path, handler in (("encode", self.encode), ("decode", self.decode)):
            app.router.add_post(f"/codec/{path}", handler)
            app.router.add_options(f"/codec/{path}", self.preflight)

    async def preflight(self, request: web.Request) -> web.Response:
        """Tell a browser what pages of the UI may send (Fetch standard, CORS-preflight)."""
        request[KIND] = "preflight"
        if not self._of_ui(request):
            return web.Response(status=403)
        return web.Response(
            status=204,
            headers=self._cors(request)
            | {
                "Access-Control-Allow-Methods": "POST",
                "Access-Control-Allow-Headers": _HEADERS,
                "Access-Control-Max-Age": "600",
            },
        )

    async def encode(self, request: web.Request) -> web.Response:
        """Encrypt what is clear."""
        request[KIND] = "encode"
        return await self._answer(request, encode=True)

    async def decode(self, request: web.Request) -> web.Response:
        """Decrypt what we have a key for; the rest comes back as it is."""
        request[KIND] = "decode"
        return await self._answer(request, encode=False)

    async def _answer(self, request: web.Request, *, encode: bool) -> web.Response:
        if not self._is_admitted(request):
            headers = self._cors(request) | {"WWW-Authenticate": "Bearer"}
            return web.Response(status=401, headers=headers)
        try:
            payloads = await _payloads(request)
        except web.HTTPRequestEntityTooLarge:
            answer = problem(413, ErrorType.MESSAGE_TOO_LARGE, f"at most {BODY_BYTES} bytes")
        except ConnectorError as error:
            answer = problem(400, error.type, error.message)
        else:
            if encode and self._encrypts:
                changed = await self._codec.encode(payloads.payloads)
            elif encode:
                changed = list(payloads.payloads)
            else:
                changed = await self._codec.decode(payloads.payloads)
            text = MessageToJson(Payloads(payloads=changed), indent=None)
            answer = web.Response(text=text, content_type="application/json")
        answer.headers.update(self._cors(request))
        return answer

    def _is_admitted(self, request: web.Request) -> bool:
        if self._access.bearer(request.headers.get("Authorization")):
            return True
        return self._of_ui(request) and self._access.is_session(request.cookies.get(COOKIE, ""))

    def _of_ui(self, request: web.Request) -> bool:
        return request.headers.get("Origin") in self._origins

    def _cors(self, request: web.Request) -> dict[str, str]:
        if not self._of_ui(request):
            return {"Vary": "Origin"}
        return {
            "Access-Control-Allow-Origin": request.headers["Origin"],
            "Access-Control-Allow-Credentials": "true",
            "Vary": "Origin",
        }


async def _payloads(request: web.Request) -> Payloads:
    if request.content_type != "application/json":
        raise ConnectorError(ErrorType.INVALID_INPUT, "send application/json")
    body = await request.read()
    try:
        return Parse(body, Payloads(), ignore_unknown_fields=True)
    except (ParseError, ValueError, RecursionError):  # its text quotes the payload
        raise ConnectorError(
            ErrorType.PAYLOAD_UNREADABLE, "send the JSON of temporal.api.common.v1.Payloads"
        ) from None
