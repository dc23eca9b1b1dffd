"""Large content in files: mode 0600, durable before the commit that refers to them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from activities.store.blobs import missing, path_of
from models.errors import ConnectorError, ErrorType


class LocalBlobs:
    """Files named by key, mode 0600, two levels of folders."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, pieces: Sequence[tuple[str, bytes]]) -> None:
        """Write, fsync and rename each file, then fsync each folder once."""
        try:
            self._put(pieces)
        except OSError as error:
            raise _unavailable("written", error) from None

    def _put(self, pieces: Sequence[tuple[str, bytes]]) -> None:
        touched: set[Path] = set()
        for key, data in pieces:
            path = self._path(key)
            for parent in (path.parent.parent, path.parent):
                if not parent.exists():
                    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    touched.add(parent.parent)
            _write_durably(path, data)
            touched.add(path.parent)
        for folder in touched:
            _sync_folder(folder)

    def get(self, key: str) -> bytes:
        """Read a piece."""
        with _reading():
            return self._path(key).read_bytes()

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Read a part of a piece."""
        with _reading(), self._path(key).open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    def forget(self, key: str) -> None:
        """Delete a piece."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise _unavailable("written", error) from None

    def check(self) -> None:
        """Make the folder and a file in it, which is removed at once."""
        probe = self._folder / f"writable.{os.getpid()}.{os.urandom(4).hex()}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            probe.unlink()
            _sync_folder(self._folder.parent)  # the folder itself survives a power cut as well
        except OSError as error:
            raise ConnectorError(
                ErrorType.STORE_UNAVAILABLE,
                f"the folder of large content cannot be written (error {error.errno}); correct "
                "its owner or mode, or name another one",
                field="EMAIL_CONNECTOR_BLOB_URL",
            ) from None

    def _path(self, key: str) -> Path:
        return self._folder / path_of(key)


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise missing() from None
    except OSError as error:
        raise _unavailable("read", error) from None


def _unavailable(done: str, error: OSError) -> ConnectorError:
    return ConnectorError(
        ErrorType.STORE_UNAVAILABLE,
        f"the blob store cannot be {done} (error {error.errno}); it is tried again",
    )


def _write_durably(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        temporary.replace(path)
    except BaseException:
        # It is tried again; what a full disk did not take must not fill it further.
        temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
