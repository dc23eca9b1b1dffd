"""Metrics and traces for when nobody watches: nothing is counted, nothing costs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from activities.ports import Span
from models.metrics import Metric


class _NoMetrics:
    def add(self, metric: Metric, amount: int = 1, **labels: str) -> None:
        """Count nothing."""

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Observe nothing."""

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Set nothing."""


class _NoSpan:
    def fact(self, name: str, value: str | int) -> None:
        """Note nothing."""


class _NoTracing:
    def command(self, *_: str, **__: str | int) -> AbstractContextManager[Span]:
        """Trace nothing."""
        return _NOTHING


_NOTHING: AbstractContextManager[Span] = nullcontext(_NoSpan())
NO_METRICS = _NoMetrics()
NO_TRACING = _NoTracing()
