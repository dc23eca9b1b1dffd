"""Where the `temporal` binary comes from: the cheapest source that works, in a fixed order.

1. `TEMPORAL_CLI`, 2. `temporal` on PATH, 3. our cache, 4. the SDK's download, 5. a build from
source. Steps 4 and 5 fill the cache.
"""

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.temporal.binary import MINIMUM_SERVER, BinaryVersion, cached_binary, probe
from tools.temporal.build import build
from tools.temporal.download import download, time_limit

Report = Callable[[str], None]


class TemporalNotFoundError(RuntimeError):
    """No source gave a Temporal CLI that this project can use."""


def report_to_stderr(line: str) -> None:
    """Write one progress line where it cannot mix with the path on standard output."""
    sys.stderr.write(f"temporal: {line}\n")
    sys.stderr.flush()


def resolve(report: Report = report_to_stderr) -> Path:
    """Return the path of a Temporal CLI, downloading or building it when needed.

    Raises:
        TemporalNotFoundError: when `TEMPORAL_CLI` is wrong, or every source failed.
    """
    return _from_environment(report) or _from_path(report) or _from_cache(report) or _fill(report)


def _from_environment(report: Report) -> Path | None:
    value = os.environ.get("TEMPORAL_CLI")
    if not value:
        report("TEMPORAL_CLI is not set; looking on PATH")
        return None
    path = Path(value).expanduser().absolute()
    if not path.is_file():
        raise TemporalNotFoundError(f"TEMPORAL_CLI={value} is not a file")
    found = probe(path)
    if found is None:
        raise TemporalNotFoundError(
            f"TEMPORAL_CLI={value} does not answer --version like a Temporal CLI"
        )
    if not found.recent_enough:
        report(f"TEMPORAL_CLI is older than this project was tested with ({found.line})")
    report(f"using TEMPORAL_CLI={value} ({found.line})")
    return path


def _from_path(report: Report) -> Path | None:
    value = shutil.which("temporal")
    if value is None:
        report("no temporal on PATH; looking in the cache")
        return None
    found = probe(value)
    if found is None or not found.recent_enough:
        report(f"{value} is passed over: {_shortcoming(found)}; looking in the cache")
        return None
    report(f"using {value} from PATH ({found.line})")
    return Path(value).absolute()


def _shortcoming(found: BinaryVersion | None) -> str:
    if found is None:
        return "it does not answer --version"
    have, need = (".".join(map(str, version)) for version in (found.server, MINIMUM_SERVER))
    return f"its server is {have}, {need} is needed"


def _from_cache(report: Report) -> Path | None:
    target = cached_binary()
    if not target.is_file():
        report(f"nothing at {target}")
        return None
    found = probe(target)
    if found is None:
        report(f"{target} does not run; it will be replaced")
        return None
    report(f"using {target} ({found.line})")
    return target


def _fill(report: Report) -> Path:
    target = cached_binary()
    target.parent.mkdir(parents=True, exist_ok=True)
    with only_one(target.parent / ".lock", report):
        # Another process may have filled the cache since this one looked.
        if target.is_file() and (found := _from_cache(report)):
            return found
        report(f"asking the Temporal SDK to download it (at most {time_limit():g} s)")
        no_download = download(target)
        if no_download is None:
            report(f"downloaded to {target}")
            return target
        report(f"no download: {no_download}")
        report("building it with Go (some minutes, once)")
        no_build = build(target, report)
        if no_build is None:
            return target
    raise TemporalNotFoundError(
        "no Temporal CLI: set TEMPORAL_CLI to one, put one on PATH, or install Go "
        f"(download: {no_download}; build: {no_build})"
    )


@contextmanager
def only_one(path: Path, report: Report) -> Iterator[None]:
    """Hold the lock file, so that processes which start together build only once."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("another process is fetching it; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
