"""Figures of the rounds of a benchmark: their medians, and the ratios that matter."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.results import median

_Pairs = Mapping[str, tuple[str, str]]
"""A ratio's name, and the two figures that it is of."""


@dataclass(frozen=True)
class Ratios:
    """What is told of a benchmark.

    Attributes:
        at_least: Ratios of which more is better: ours by theirs.
        at_most: Ratios of which less is better.
        peaks: Other figures of which less is better.
    """

    at_least: _Pairs
    at_most: _Pairs = field(default_factory=dict)
    peaks: tuple[str, ...] = ()

    def of(self, middle: Mapping[str, float]) -> dict[str, float]:
        """The ratios of these figures."""
        return {
            name: round(middle[ours] / middle[theirs], 3)
            for name, (ours, theirs) in {**self.at_least, **self.at_most}.items()
            if ours in middle and theirs in middle
        }

    def worst(self, by_store: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """Of each the worse one of the stores."""
        found: dict[str, float] = {}
        for names, choose in ((self.at_least, min), (self.at_most, max), (self.peaks, max)):
            for name in names:
                values = [figures[name] for figures in by_store.values() if name in figures]
                if values:
                    found[name] = choose(values)
        return found


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

    def medians(self) -> dict[str, float]:
        """The middle of each figure's rounds."""
        return {name: median(values) for name, values in self._found.items()}
