"""Writes figures: one JSON file a benchmark, and a page a person can read."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
PAGE = Path(__file__).parent / "RESULTS.md"
_PACKAGES = ("temporalio", "aiosmtplib", "imapclient", "sqlalchemy", "nh3", "fast-mail-parser")


def median(values: Sequence[float]) -> float:
    """The middle of several rounds, to three places."""
    return round(statistics.median(values), 3)


def conditions() -> dict[str, Any]:
    """Where and with what the figures were taken."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
    }


def write(name: str, figures: dict[str, Any]) -> Path:
    """Write ``results/NAME.json`` and renew the page."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps({**figures, "conditions": conditions()}, indent=2) + "\n")
    _renew_page()
    return path


def _renew_page() -> None:
    lines = ["# Results", "", "Written by the benchmarks; compare ratios, not rates.", ""]
    for path in sorted(FOLDER.glob("*.json")):
        figures = json.loads(path.read_text())
        taken = figures.pop("conditions", {})
        lines += [
            f"## {path.stem}",
            "",
            f"Taken {taken.get('date')}, {taken.get('cpus')} CPUs.",
            "",
        ]
        lines += ["| figure | value |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in _flat(figures)]
        lines.append("")
    PAGE.write_text("\n".join(lines))


def _flat(figures: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in figures.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            rows.append((f"{prefix}{name}", f"{len(value)} rows, in the JSON file"))
        else:
            rows.append((f"{prefix}{name}", value))
    return rows
