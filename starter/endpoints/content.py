"""`GET|HEAD /content/{key}`: one piece of content for whoever holds a signed link to it."""

from __future__ import annotations

import hashlib
import logging

from aiohttp import web

from activities.store.links import ContentLinks
from models.errors import ConnectorError, ErrorType
from starter.endpoints.answers import KIND, abort
from starter.endpoints.media import PROTECTION, disposition_of, protection_of
from starter.endpoints.pieces import Piece, Pieces
from starter.endpoints.ranges import Span, UnsatisfiableRangeError, requested_span

_log = logging.getLogger(__name__)

_CHUNK_BYTES = 256 * 1024
_PARAMETERS = ["expires", "key", "signature"]


class ContentEndpoint:
    """Serves content.

    Args:
        links: Checks links.
        pieces: Finds and reads content.
    """

    def __init__(self, links: ContentLinks, pieces: Pieces) -> None:
        self._links = links
        self._pieces = pieces

    def add_to(self, app: web.Application) -> None:
        """Add the route."""
        app.router.add_get("/content/{key:[A-Za-z0-9._-]{1,100}}", self.get)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer a GET or a HEAD."""
        key = request.match_info["key"]
        self._check(request, key)
        piece = await self._pieces.find(key)
        request[KIND] = piece.kind
        etag = f'"{piece.sha256}"'
        headers = protection_of(piece.kind) | {
            "ETag": etag,
            "Accept-Ranges": "bytes",
            "Content-Type": piece.media_type,
            "Content-Disposition": disposition_of(piece.media_type, piece.name),
        }
        if (status := _precondition(request, etag)) is not None:
            return web.Response(status=status, headers=headers)
        whole = Span(0, piece.size)
        try:
            span = _span(request, piece, etag)
        except UnsatisfiableRangeError:
            return web.Response(
                status=416, headers=PROTECTION | {"Content-Range": f"bytes */{piece.size}"}
            )
        if span is not None:
            headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{piece.size}"
        return await self._send(request, piece, headers, span or whole, 206 if span else 200)

    def _check(self, request: web.Request, key: str) -> None:
        query = request.rel_url.query
        # A link has one spelling: no escapes, each parameter once, and nothing else.
        path = request.raw_path.partition("?")[0]
        if path != f"/content/{key}" or sorted(name for name, _ in query.items()) != _PARAMETERS:
            raise ConnectorError(ErrorType.CONTENT_NOT_FOUND, "the link is not one of ours")
        self._links.check(key, query["key"], query["expires"], query["signature"])

    async def _send(
        self, request: web.Request, piece: Piece, headers: dict[str, str], span: Span, status: int
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(span)
        chunks = [
            Span(start, min(start + _CHUNK_BYTES, span.stop))
            for start in range(span.start, span.stop, _CHUNK_BYTES)
        ]
        if request.method == "HEAD" or not chunks:
            await response.prepare(request)
            return response
        digest = hashlib.sha256()
        begun = False
        try:
            for chunk in chunks:
                data = await self._pieces.read(piece, chunk)
                digest.update(data)
                if chunk.stop == piece.size == len(span) and digest.hexdigest() != piece.sha256:
                    raise ConnectorError(ErrorType.CONTENT_DAMAGED, "the stored content is damaged")
                if not begun:
                    await response.prepare(request)
                    begun = True
                await response.write(data)
        except ConnectorError as error:
            if not begun:
                raise
            _log.error("a %s was cut short: %s", piece.kind, error.type)  # too late for a status
            abort(request)
        except ConnectionError:
            abort(request)  # the reader has left
        else:
            await response.write_eof()
        return response


def _precondition(request: web.Request, etag: str) -> int | None:
    """The status of a request whose precondition is false (RFC 9110 §13.2.2)."""
    bare = etag.strip('"')
    if (wanted := request.if_match) and not any(
        each.value == "*" or (each.value == bare and not each.is_weak) for each in wanted
    ):
        return 412
    if (known := request.if_none_match) and any(each.value in ("*", bare) for each in known):
        return 304
    return None


def _span(request: web.Request, piece: Piece, etag: str) -> Span | None:
    if request.method != "GET":
        return None  # RFC 9110 §14.2
    # A date can never match: content has no Last-Modified.
    if request.headers.get("If-Range", etag) != etag:
        return None
    return requested_span(request.headers.get("Range"), piece.size)
