"""`python -m starter`."""

from __future__ import annotations

import contextlib
import logging
import os
import sys

from starter.cli.main import run

code = run(sys.argv[1:])
logging.shutdown()
for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(OSError, ValueError):  # whoever read it has gone
        stream.flush()
# Temporal's client has threads that nothing stops. One that wakes up while the interpreter is taken
# down aborts the process: after a success, with an error code (temporalio/sdk-python issue 300).
os._exit(code)
