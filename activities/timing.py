"""Measures how long something took that went well."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from activities.ports import Metrics
from models.metrics import Metric


@contextmanager
def timed(metrics: Metrics, metric: Metric, **labels: str) -> Iterator[None]:
    """Observe the duration of the block in seconds, unless it raises."""
    started = time.monotonic()
    yield
    metrics.observe(metric, time.monotonic() - started, **labels)
