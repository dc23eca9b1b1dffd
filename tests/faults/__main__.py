"""The whole fault matrix; figures go to ``benchmarks/results/faults.json``.

    python -m tests.faults

What is right in each cell stands in ``tests/faults/expected.py``. Exit code 1 when one is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.results import write
from tests.faults.cell import MODES, cells, row
from tests.faults.world import World


async def matrix(world: World, *modes: str) -> list[dict[str, Any]]:
    """Rows of all cells of some modes, or of all."""
    wanted = cells(*modes)
    found = await asyncio.gather(*map(world.run, wanted), return_exceptions=True)
    return [row(cell, what) for cell, what in zip(wanted, found, strict=True)]


def main() -> int:
    argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__).parse_args()
    logging.basicConfig(level=logging.ERROR)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ec-faults-") as folder:
        rows = asyncio.run(_run(Path(folder)))
    wrong = [cell for cell in rows if cell["wrong"]]
    for cell in wrong:
        sys.stderr.write(f"{cell['mode']} {cell['stage']} {cell['way']}: {cell['wrong']}\n")
    figures = {
        "cells": len(rows),
        "wrong": len(wrong),
        "seconds": round(time.monotonic() - began, 1),
        "labels": dict(sorted(Counter(cell["found"] for cell in rows).items())),
        "modes": {mode: sum(cell["mode"] == mode for cell in rows) for mode in MODES},
        "table": rows,
    }
    path = write("faults", figures)
    sys.stderr.write(f"{len(rows)} cells, {len(wrong)} wrong; written to {path}\n")
    return 1 if wrong else 0


async def _run(folder: Path) -> list[dict[str, Any]]:
    world = World(folder)
    try:
        return await matrix(world)
    finally:
        world.close()


if __name__ == "__main__":
    sys.exit(main())
