"""The port of large content: a place that keeps bytes under a name, durably."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

from models.errors import ConnectorError, ErrorType


class Blobs(Protocol):
    """Where large pieces lie.

    All methods raise ``StoreUnavailable`` when the place does not answer or does not let us in.
    """

    def put(self, pieces: Sequence[tuple[str, bytes]]) -> None:
        """Write all pieces; on return they survive a power cut."""

    def get(self, key: str) -> bytes:
        """Read a piece. Raises ``ContentNotFound``."""

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Read the bytes from ``start`` up to, not including, ``end``; fewer where it ends.

        Raises ``ContentNotFound``.
        """

    def forget(self, key: str) -> None:
        """Delete a piece; one that is gone is fine."""

    def check(self) -> None:
        """Prove that pieces can be written; the error says which setting to correct."""


def path_of(key: str) -> str:
    """Where a piece lies below its folder or prefix, the same in every kind of blob store."""
    name = hashlib.sha256(key.encode()).hexdigest()  # a key is data, never a path
    return f"{name[:2]}/{name}"


def missing() -> ConnectorError:
    """The error of a piece that is not there."""
    return ConnectorError(
        ErrorType.CONTENT_NOT_FOUND, "the content's file is missing from the blob store"
    )
