"""Large content in S3, Google Cloud Storage or Azure, through obstore.

A put is durable when the service has answered 200. Credentials, region and endpoint come from the
cloud's usual variables, which obstore reads (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, …).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import from_url

from activities.store.blobs import missing, path_of
from models.errors import ConnectorError, ErrorType

if TYPE_CHECKING:
    from obstore.store import RetryConfig

_RETRIES: RetryConfig = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=5),
        "base": 2,
    },
}
"""Temporal repeats the step; here only what passes quickly is bridged.

One request is given up after 30 s, 5 s of them to connect: obstore's defaults, which its own
variables change (``AWS_TIMEOUT``).
"""

_AT_ONCE = 8
_FIELD = "EMAIL_CONNECTOR_BLOB_URL"
_PROBE = "writable"

# A bucket that is gone is answered like a piece that is gone: only the code in the answer tells.
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "specified bucket does not exist")


class CloudBlobs:
    """Objects below a prefix of a bucket, named as the files of a local blob store are.

    Args:
        url: ``s3://BUCKET/PREFIX``, ``gs://BUCKET/PREFIX`` or ``az://CONTAINER/PREFIX``.

    Raises:
        ConnectorError: ``InvalidInput`` when the URL or the cloud's variables make no sense.
    """

    def __init__(self, url: str) -> None:
        try:
            self._store = from_url(url, retry_config=_RETRIES)
        except (BaseError, ValueError):
            # What the library says may quote the URL.
            raise ConnectorError(
                ErrorType.INVALID_INPUT,
                "the blob store cannot be used as it is described; write s3://BUCKET/PREFIX, "
                "gs://BUCKET/PREFIX or az://CONTAINER/PREFIX, and set the cloud's own variables "
                "(docs/how-to/storage.md)",
                field=_FIELD,
            ) from None

    def put(self, pieces: Sequence[tuple[str, bytes]]) -> None:
        """Upload all pieces, several at once."""
        if len(pieces) <= 1:
            for piece in pieces:
                self._put(piece)
            return
        with ThreadPoolExecutor(min(_AT_ONCE, len(pieces))) as threads:
            list(threads.map(self._put, pieces))

    def _put(self, piece: tuple[str, bytes]) -> None:
        key, data = piece
        with _translated():
            self._store.put(path_of(key), data)

    def get(self, key: str) -> bytes:
        """Read a piece."""
        with _translated():
            return self._store.get(path_of(key)).bytes().to_bytes()

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Read a part of a piece."""
        if start >= end:
            return b""
        with _translated():
            return self._store.get_range(path_of(key), start=start, end=end).to_bytes()

    def forget(self, key: str) -> None:
        """Delete a piece."""
        with _translated():
            self._store.delete(path_of(key))

    def check(self) -> None:
        """Write an object, always the same one."""
        try:
            self._store.put(_PROBE, b"")
        except FileNotFoundError:
            raise ConnectorError(
                ErrorType.INVALID_INPUT,
                "the bucket does not exist; make it, or correct its name or AWS_REGION",
                field=_FIELD,
            ) from None
        except (PermissionDeniedError, UnauthenticatedError):
            raise ConnectorError(
                ErrorType.INVALID_INPUT,
                "the blob store refuses to be written with these credentials; set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or your cloud's variables), and "
                "allow them to read, write and delete objects",
                field=_FIELD,
            ) from None
        except BaseError:
            raise ConnectorError(
                ErrorType.STORE_UNAVAILABLE,
                "the blob store cannot be written; look at credentials, region and "
                "AWS_ENDPOINT_URL (AWS_ALLOW_HTTP=true for one without TLS)",
                field=_FIELD,
            ) from None


@contextmanager
def _translated() -> Iterator[None]:
    # What the library says quotes the service's answer and addresses: only its class is told.
    try:
        yield
    except FileNotFoundError as error:
        if not any(code in str(error) for code in _NO_BUCKET):
            raise missing() from None
        raise _unavailable("its bucket does not exist") from None
    except (PermissionDeniedError, UnauthenticatedError):
        raise _unavailable("it refuses our credentials") from None
    except BaseError as error:
        raise _unavailable(type(error).__name__) from None


def _unavailable(reason: str) -> ConnectorError:
    # Temporary, whatever it is: somebody repairs the store, and no mail is given up meanwhile.
    return ConnectorError(
        ErrorType.STORE_UNAVAILABLE, f"the blob store failed ({reason}); it is tried again"
    )
