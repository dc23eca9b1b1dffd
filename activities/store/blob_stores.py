"""The kinds of blob stores, by their URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from activities.store.blobs import Blobs
from activities.store.local_blobs import LocalBlobs
from models.errors import ConnectorError, ErrorType

_CLOUDS = frozenset({"s3", "gs", "az"})


def open_blobs(url: str) -> Blobs:
    """Return the blob store at ``url``: a folder (``file:///FOLDER``) or a bucket in a cloud.

    Raises:
        ConnectorError: ``InvalidInput`` when there is no such kind, or it is described wrongly.
    """
    parts = urlsplit(url)
    if parts.scheme in _CLOUDS:
        # A library of 20 MB, which a store in a folder need not wait for.
        from activities.store.cloud_blobs import CloudBlobs

        return CloudBlobs(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ConnectorError(
            ErrorType.INVALID_INPUT,
            "there is no such kind of blob store; use file:///FOLDER, s3://BUCKET/PREFIX, "
            "gs://BUCKET/PREFIX or az://CONTAINER/PREFIX",
            field="EMAIL_CONNECTOR_BLOB_URL",
        )
    return LocalBlobs(Path(url2pathname(parts.path)))
