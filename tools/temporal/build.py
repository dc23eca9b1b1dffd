"""Programs built from source, through the Go module in this folder."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tools.temporal.binary import MODULE_DIR, pinned, probe

PACKAGE = "github.com/temporalio/cli/cmd/temporal"
"""The CLI."""
_VERSION_VARIABLE = "github.com/temporalio/cli/internal/temporalcli.Version"
_NEWS_EVERY = 60.0


def find_go() -> str | None:
    """Return the Go command: from PATH, else from its customary folder."""
    return shutil.which("go") or shutil.which("/usr/local/go/bin/go")


def build(target: Path, report: Callable[[str], None]) -> str | None:
    """Build the CLI and put it at `target`; returns as `build_package`."""
    version = pinned("github.com/temporalio/cli")
    return build_package(
        PACKAGE,
        target,
        report,
        works=lambda path: probe(path) is not None,
        linker=f"-X {_VERSION_VARIABLE}={version}",
    )


def build_package(
    package: str,
    target: Path,
    report: Callable[[str], None],
    *,
    works: Callable[[Path], bool],
    linker: str = "",
) -> str | None:
    """Build a command of the module and put it at `target` in one atomic step.

    Args:
        package: the command's Go package.
        target: where the binary goes.
        report: told every minute that it is still building.
        works: tells whether a binary runs.
        linker: flags for Go's linker besides our own.

    Returns:
        `None` on success, else why there is no binary.
    """
    go = find_go()
    if go is None:
        return "Go is not installed"
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as folder:
        output = Path(folder) / target.name
        reason = _compile(go, package, linker, output, report)
        if reason is not None:
            return reason
        if not works(output):
            return "the build made a binary that does not run"
        output.replace(target)
    return None


def _compile(
    go: str, package: str, linker: str, output: Path, report: Callable[[str], None]
) -> str | None:
    log = output.with_name("build.log")
    command = [
        go,
        "build",
        "-mod=readonly",
        f"-ldflags={f'-s -w {linker}'.strip()}",
        "-trimpath",
        "-o",
        os.fspath(output),
        package,
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
