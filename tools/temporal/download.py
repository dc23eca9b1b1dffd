"""The Temporal SDK's own download of the CLI, with a time limit."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.temporal.binary import pinned, probe

# The SDK downloads only as a part of starting a server, so a server is started for a moment.
# A process of its own, because the SDK offers neither a time limit nor a way to cancel.
_SCRIPT = """
import asyncio, sys
from temporalio.testing import WorkflowEnvironment

async def main() -> None:
    environment = await WorkflowEnvironment.start_local(
        download_dest_dir=sys.argv[1], dev_server_download_version=sys.argv[2]
    )
    await environment.shutdown()

try:
    asyncio.run(main())
except Exception as error:
    sys.exit(str(error))
"""


def time_limit() -> float:
    """Return the seconds a download may take (TEMPORAL_CLI_DOWNLOAD_SECONDS, default 60)."""
    return float(os.environ.get("TEMPORAL_CLI_DOWNLOAD_SECONDS", "60"))


def download(target: Path) -> str | None:
    """Let the SDK download the CLI and put it at `target`.

    Returns:
        `None` on success, else why there is no binary.
    """
    version = f"v{pinned('github.com/temporalio/cli')}"
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
        reason = _run([sys.executable, "-c", _SCRIPT, folder, version])
        if reason is not None:
            return reason
        for candidate in sorted(Path(folder).glob("temporal*")):
            found = probe(candidate)
            if found is not None and found.recent_enough:
                candidate.replace(target)
                return None
    return "the download held no usable binary"


def _run(command: list[str]) -> str | None:
    limit = time_limit()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Its own group: the server which it starts must not outlive the time limit.
        start_new_session=True,
    )
    try:
        _, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"no answer within {limit:g} s"
    if process.returncode == 0:
        return None
    lines = errors.strip().splitlines()
    return lines[-1] if lines else f"exit code {process.returncode}"
