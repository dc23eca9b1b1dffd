"""Files as attachments: small ones travel in the request, large ones are stored first."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from activities.store.assembly import Store
from activities.store.content import ATTACHMENT, Piece
from models.errors import ConnectorError, ErrorType
from models.ids import derived_id
from models.message import MAX_INLINE_BYTES, Attachment, AttachmentPosition

_LARGEST_INLINE = 256 * 1024


@dataclass(frozen=True, slots=True)
class File:
    """A file to attach."""

    path: Path
    position: AttachmentPosition


def attach(
    files: Sequence[File], store: Store, *, room: int = MAX_INLINE_BYTES, key: str | None = None
) -> list[Attachment]:
    """Return the files as attachments.

    Args:
        files: What to attach.
        store: Where large files are stored.
        room: Characters that the request may still grow by.
        key: The mail's idempotency key; the same file is then stored once, under the same id, so
            that a repeated request equals the first.
    """
    attached: list[Attachment] = []
    for number, file in enumerate(files):
        data = file.path.read_bytes()
        length = 4 * (-(-len(data) // 3))
        inline = len(data) <= _LARGEST_INLINE and length <= room
        name = file.path.name
        content_type = _content_type(name)
        if inline:
            room -= length
        attached.append(
            Attachment(
                name=name,
                content_type=content_type,
                position=file.position,
                content=base64.b64encode(data).decode() if inline else None,
                content_ref=None if inline else _stored(store, number, data, content_type, key),
            )
        )
    return attached


def _content_type(name: str) -> str:
    kind, encoding = mimetypes.guess_type(name)
    return kind if kind and not encoding else "application/octet-stream"


def _stored(store: Store, number: int, data: bytes, content_type: str, key: str | None) -> str:
    digest = hashlib.sha256(data).hexdigest()
    ref = derived_id("attachment", key, str(number), digest) if key else str(uuid4())
    if key and _is_stored(store, ref):
        return ref
    rows = store.content.prepare([Piece(ref, ATTACHMENT, content_type, data)])
    with store.database.write() as session:
        store.content.insert(session, rows)
    return ref


def _is_stored(store: Store, ref: str) -> bool:
    try:
        with store.database.read() as session:
            store.content.read(session, ref)
    except ConnectorError as error:
        if error.type is not ErrorType.CONTENT_NOT_FOUND:
            raise
        return False
    return True
