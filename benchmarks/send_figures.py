"""The figures of ``make bench-send``: medians of the rounds, and the ratios that matter."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from benchmarks.results import median

_AT_LEAST = {
    "ratio_aiosmtplib": ("ours_per_second", "aiosmtplib_per_second"),
    "ratio_post_office_best": ("ours_per_second", "post_office_best_per_second"),
    "ratio_post_office_default": ("ours_per_second", "post_office_default_per_second"),
    "ratio_celery": ("ours_per_second", "celery_per_second"),
    "latency_ratio_aiosmtplib": ("late_ours_per_second", "late_aiosmtplib_per_second"),
}
"""Rates by rates: the more, the better."""
_AT_MOST = {
    "interactive_ratio_p50": ("send_p50_ms", "bare_p50_ms"),
    "interactive_ratio_p95": ("send_p95_ms", "bare_p95_ms"),
    "fairness": ("small_seconds_beside_heavy", "small_seconds_alone"),
}
"""Times by times: the less, the better."""


class Figures:
    """What the rounds on one store gave."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = {}

    def note(self, name: str, value: float) -> None:
        """Add a figure of one round."""
        self._found.setdefault(name, []).append(value)
        sys.stderr.write(f"{name}: {value:.3f}\n")

    def of(self, *names: str) -> dict[str, list[float]]:
        """The figures of some names, for ``adopt``."""
        return {name: values for name, values in self._found.items() if name in names}

    def adopt(self, found: Mapping[str, list[float]]) -> None:
        """Take over what does not depend on the store."""
        self._found.update(found)

    def summary(self) -> dict[str, float]:
        """Medians, and the ratios of medians."""
        middle = {name: median(values) for name, values in self._found.items()}
        celery = [value for name, value in middle.items() if name.startswith("celery_")]
        if celery:
            middle["celery_per_second"] = max(celery)
        ratios = {
            name: round(middle[ours] / middle[theirs], 3)
            for name, (ours, theirs) in {**_AT_LEAST, **_AT_MOST}.items()
            if ours in middle and theirs in middle
        }
        return {**ratios, **middle}


def worst(by_store: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Of each ratio the worse one of the stores."""
    found: dict[str, float] = {}
    for names, choose in ((_AT_LEAST, min), (_AT_MOST, max), (("rss_growth",), max)):
        for name in names:
            values = [figures[name] for figures in by_store.values() if name in figures]
            if values:
                found[name] = choose(values)
    return found
