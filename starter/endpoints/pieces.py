"""Finds pieces of content by key and reads them, on threads of their own.

Stored pieces are read in chunks. An attachment comes out of its raw mail, which is parsed for it,
and so does html with pictures from the web: one at a time, so that memory holds one mail, and the
latest ones are kept for the next range of them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from sqlmodel import Session

from activities.mail.parse import parse
from activities.mail.render import render_html
from activities.ports import ParsedMail
from activities.store import messages
from activities.store.assembly import Store
from activities.store.content import Description
from models.errors import ConnectorError, ErrorType
from models.mailbox import RetrievalOptions
from starter.endpoints.media import PICTURED, SERVED, media_type_of
from starter.endpoints.ranges import Span

T = TypeVar("T")

_THREADS = 8
_KEPT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of content that may be served."""

    kind: str
    media_type: str
    name: str
    size: int
    sha256: str
    source: bytes | Description
    """All of it when it is at hand, else what the store knows of it."""


class Pieces:
    """Finds and reads.

    Args:
        store: Where the content is.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="content")
        self._parser = ThreadPoolExecutor(1, thread_name_prefix="parts")
        self._kept = _Kept(_KEPT_BYTES)

    async def find(self, key: str) -> Piece:
        """Return a piece; raises ``ContentNotFound``."""
        if (part := messages.part_of_key(key)) is not None:
            return await self._run(self._parser, lambda: self._part(key, *part))
        if (message_id := messages.pictured_of_key(key)) is not None:
            return await self._run(self._parser, lambda: self._pictured(key, message_id))
        return await self._run(self._threads, lambda: self._stored(key))

    async def read(self, piece: Piece, span: Span) -> bytes:
        """Return the bytes of a span."""
        source = piece.source
        if isinstance(source, bytes):
            return source[span.start : span.stop]
        return await self._run(self._threads, lambda: self._span(source, span))

    async def answers(self) -> None:
        """Raise ``StoreUnavailable`` unless the database answers."""
        await self._run(self._threads, self._store.database.ask)

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(cancel_futures=True)
        self._parser.shutdown(cancel_futures=True)

    @staticmethod
    async def _run(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, work)

    def _stored(self, key: str) -> Piece:
        with self._store.database.read() as session:
            found = self._store.content.describe(session, key)
        if found.kind not in SERVED or found.message_id is None:
            raise _not_found()
        return Piece(
            kind=found.kind,
            media_type=media_type_of(found.kind, found.media_type),
            name=f"{found.message_id}.{_ENDINGS[found.kind]}",
            size=found.size,
            sha256=found.sha256,
            source=found,
        )

    def _span(self, piece: Description, span: Span) -> bytes:
        with self._store.database.read() as session:
            return self._store.content.read_range(session, piece, span.start, span.stop)

    def _part(self, key: str, message_id: str, number: int) -> Piece:
        def made(mail: ParsedMail) -> Piece:
            if number >= len(mail.parts):
                raise _not_found()
            part = mail.parts[number]
            media_type = media_type_of("part", part.content_type, part.data)
            return _piece("part", media_type, part.name, part.data)

        return self._made(key, message_id, made)

    def _pictured(self, key: str, message_id: str) -> Piece:
        def made(mail: ParsedMail) -> Piece:
            html = render_html(mail, _WITH_OWN_PICTURES, remote_images=True)
            if html is None:
                raise _not_found()
            data = html.encode("utf-8", "replace")
            return _piece(PICTURED, media_type_of(PICTURED, ""), f"{message_id}.html", data)

        return self._made(key, message_id, made)

    def _made(self, key: str, message_id: str, made: Callable[[ParsedMail], Piece]) -> Piece:
        """A piece that is made of a mail when it is asked for."""
        with self._store.database.read() as session:
            # Asked each time: what is deleted must be gone here too.
            raw_key = _raw_key(session, message_id)
            if piece := self._kept.get(key):
                return piece
            raw = self._store.content.read(session, raw_key)[1]
        piece = made(parse(raw))
        self._kept.put(key, piece)
        return piece


def _piece(kind: str, media_type: str, name: str, data: bytes) -> Piece:
    digest = hashlib.sha256(data).hexdigest()
    return Piece(
        kind=kind, media_type=media_type, name=name, size=len(data), sha256=digest, source=data
    )


_WITH_OWN_PICTURES = RetrievalOptions(render_inline_images=True)
_ENDINGS = {"raw": "eml", "mail": "eml", "text": "txt", "html": "html"}


def _raw_key(session: Session, message_id: str) -> str:
    try:
        return messages.raw_key(session, message_id)
    except ConnectorError:
        raise _not_found() from None


def _not_found() -> ConnectorError:
    return ConnectorError(ErrorType.CONTENT_NOT_FOUND, "there is no content with this key")


class _Kept:
    """The latest pieces, up to a number of bytes; used by one thread."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._pieces: OrderedDict[str, Piece] = OrderedDict()

    def get(self, key: str) -> Piece | None:
        if key in self._pieces:
            self._pieces.move_to_end(key)
        return self._pieces.get(key)

    def put(self, key: str, piece: Piece) -> None:
        if piece.size > self._room:
            return
        self._pieces[key] = piece
        while sum(each.size for each in self._pieces.values()) > self._room:
            self._pieces.popitem(last=False)
