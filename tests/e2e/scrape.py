"""Reads a page of Prometheus metrics."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.request import urlopen

from models.metrics import Metric

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Sample:
    """A line of the page."""

    name: str
    labels: dict[str, str]
    value: float


class Page:
    """What a worker tells of itself at ``address``."""

    def __init__(self, address: str) -> None:
        with urlopen(f"http://{address}/metrics", timeout=10) as answer:
            self.text: str = answer.read().decode()
        matches = map(_SAMPLE.match, self.text.splitlines())
        self.samples = [
            Sample(m[1], dict(_LABEL.findall(m[2] or "")), float(m[3])) for m in matches if m
        ]

    def by(self, metric: Metric, *labels: str, suffix: str = "") -> dict[tuple[str, ...], float]:
        """Values of a metric by the values of its labels."""
        name = metric.exposed_name + suffix
        return {
            tuple(s.labels[label] for label in labels): s.value
            for s in self.samples
            if s.name == name
        }

    def value(self, metric: Metric, suffix: str = "") -> float:
        """The sum of a metric over all labels."""
        return sum(s.value for s in self.samples if s.name == metric.exposed_name + suffix)
