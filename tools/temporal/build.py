"""The CLI built from source, through the Go module in this folder."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tools.temporal.binary import MODULE_DIR, pinned, probe

PACKAGE = "github.com/temporalio/cli/cmd/temporal"
_VERSION_VARIABLE = "github.com/temporalio/cli/internal/temporalcli.Version"
_NEWS_EVERY = 60.0


def find_go() -> str | None:
    """Return the Go command: from PATH, else from its customary folder."""
    return shutil.which("go") or shutil.which("/usr/local/go/bin/go")


def build(target: Path, report: Callable[[str], None]) -> str | None:
    """Build the CLI and put it at `target` in one atomic step.

    Returns:
        `None` on success, else why there is no binary.
    """
    go = find_go()
    if go is None:
        return "Go is not installed"
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as folder:
        output = Path(folder) / "temporal"
        reason = _compile(go, output, Path(folder) / "build.log", report)
        if reason is not None:
            return reason
        if probe(output) is None:
            return "the build made a binary that does not run"
        output.replace(target)
    return None


def _compile(go: str, output: Path, log: Path, report: Callable[[str], None]) -> str | None:
    version = pinned("github.com/temporalio/cli")
    command = [
        go,
        "build",
        "-mod=readonly",
        f"-ldflags=-s -w -X {_VERSION_VARIABLE}={version}",
        "-trimpath",
        "-o",
        os.fspath(output),
        PACKAGE,
    ]
    began = time.monotonic()
    # No workspace file of a parent folder may change what is built.
    environment = {**os.environ, "GOWORK": "off"}
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            cwd=MODULE_DIR,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
        )
        try:
            while True:
                try:
                    code = process.wait(_NEWS_EVERY)
                    break
                except subprocess.TimeoutExpired:
                    report(f"still building, {time.monotonic() - began:.0f} s so far")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if code == 0:
        report(f"built in {time.monotonic() - began:.0f} s")
        return None
    tail = " | ".join(log.read_text(errors="replace").strip().splitlines()[-4:])
    return f"go build failed: {tail}"
