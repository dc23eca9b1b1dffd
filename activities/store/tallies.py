"""Figures that become true with a commit: noted within the transaction, told after it.

Only a change of a row is noted, never a call: a step that is repeated changes nothing the second
time, and nothing that is rolled back is ever counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session

from activities.ports import Metrics
from models.metrics import Metric, MetricKind

_NOTED = "tallies"


@dataclass(frozen=True, slots=True)
class _Tally:
    metric: Metric
    value: float
    labels: dict[str, str]


def tally(session: Session, metric: Metric, value: float = 1, **labels: str) -> None:
    """Note that ``metric`` grows by ``value``, or has seen it, once this is committed."""
    _noted(session).append(_Tally(metric, value, labels))


def mark(session: Session) -> int:
    """Return where ``forget_since`` goes back to, before a savepoint."""
    return len(_noted(session))


def forget_since(session: Session, marked: int) -> None:
    """Forget what was noted since ``mark``: its savepoint was rolled back."""
    del _noted(session)[marked:]


def tell(session: Session, metrics: Metrics) -> None:
    """Tell ``metrics`` what was noted; the transaction is committed."""
    for noted in _noted(session):
        if noted.metric.kind is MetricKind.COUNTER:
            metrics.add(noted.metric, int(noted.value), **noted.labels)
        else:
            metrics.observe(noted.metric, noted.value, **noted.labels)


def _noted(session: Session) -> list[_Tally]:
    noted: list[_Tally] = session.info.setdefault(_NOTED, [])
    return noted
