"""What one `temporal` binary says about itself, and what our Go module pins."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

MODULE_DIR = Path(__file__).resolve().parent
MINIMUM_SERVER = (1, 31)

_VERSION = re.compile(r"temporal version (\S+) \(Server (\d+)\.(\d+)[^,]*,")


@dataclass(frozen=True)
class BinaryVersion:
    """The version line of a Temporal CLI."""

    cli: str
    server: tuple[int, int]
    line: str

    @property
    def recent_enough(self) -> bool:
        """Whether the embedded server has what this project needs."""
        return self.server >= MINIMUM_SERVER


def version_text(binary: Path | str) -> str | None:
    """Return what a binary says to `--version`; `None` when it does not run."""
    try:
        done = subprocess.run(
            [os.fspath(binary), "--version"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def probe(binary: Path | str) -> BinaryVersion | None:
    """Ask a binary for its version; `None` when it does not answer like a Temporal CLI."""
    line = version_text(binary)
    match = _VERSION.search(line) if line is not None else None
    if line is None or match is None:
        return None
    cli, major, minor = match.groups()
    return BinaryVersion(cli, (int(major), int(minor)), line)


def pinned(module: str) -> str:
    """Return the version (without its `v`) that our go.mod pins for a module."""
    text = (MODULE_DIR / "go.mod").read_text()
    match = re.search(rf"^\s*{re.escape(module)} v(\S+)", text, re.MULTILINE)
    if match is None:
        raise LookupError(f"tools/temporal/go.mod pins no version of {module}")
    return match.group(1)


def cached_binary() -> Path:
    """Return where our own copy of the CLI belongs, whether or not it is there."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    version = f"{pinned('github.com/temporalio/cli')}-{pinned('go.temporal.io/server')}"
    return Path(base).expanduser() / "email-connector" / "temporal" / version / "temporal"
