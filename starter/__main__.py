"""`python -m starter`."""

from __future__ import annotations

import sys

from starter.cli.main import run

sys.exit(run(sys.argv[1:]))
