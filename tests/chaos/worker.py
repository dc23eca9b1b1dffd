"""The worker under test: the real one, with crash points around its steps.

By hand: ``CHAOS_CONTROL=FOLDER EMAIL_CONNECTOR_…=… python -m tests.chaos.worker``. The harness
forks it from a process that has imported everything: a start costs 0.1 s of work instead of 3.
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import os
import signal
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from temporalio.worker import Worker

import worker
from tests.chaos.control import Control
from tests.chaos.crash_points import install

READY = "worker ready"
_PR_SET_PDEATHSIG = 1


def main() -> None:
    install(Control(Path(os.environ["CHAOS_CONTROL"])))
    # Temporal keeps a dead worker's workflows for it for 10 s, and gives every poll of a frozen
    # one a task; with hundreds of blows that is all a run would wait for.
    impatient = functools.partial(
        Worker,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
        max_concurrent_workflow_task_polls=2,
        max_concurrent_activity_task_polls=1,
    )
    setattr(worker, "Worker", impatient)  # noqa: B010 - to mypy, a class is not to be replaced
    asyncio.run(worker.main())


def forked(environment: Mapping[str, str], log: Path) -> None:
    """Be a worker with this environment and this log; ends with the process that forked it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with log.open("ab", buffering=0) as output:
        for standard in (sys.stdout, sys.stderr):
            os.dup2(output.fileno(), standard.fileno())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.environ.update(environment)
    main()


if __name__ == "__main__":
    main()
