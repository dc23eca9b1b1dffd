"""Metrics of the contract. Dashboards and alerts know them by name: change one only with a version.

Names follow Prometheus' conventions: base units, ``_total`` on counters (added on the way out).
Every label has a handful of values that are known beforehand. No address, account, folder or id is
ever a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class MetricKind(Enum):
    """How values add up."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: what it is called, what it means, and its labels."""

    kind: MetricKind
    name: str
    description: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets."""

    @property
    def exposed_name(self) -> str:
        """Its name on a scraped page."""
        return f"{self.name}_total" if self.kind is MetricKind.COUNTER else self.name


_PREFIX = "email_connector_"
_WAITS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)
_LONG_WAITS = (*_WAITS, 3600, 6 * 3600, 86_400)
_AGES = (1, 5, 15, 60, 300, 900, 3600, 6 * 3600, 86_400, 7 * 86_400, 30 * 86_400, 365 * 86_400)


def _counter(name: str, description: str, *labels: str) -> Metric:
    return Metric(MetricKind.COUNTER, _PREFIX + name, description, labels)


def _gauge(name: str, description: str, *labels: str) -> Metric:
    return Metric(MetricKind.GAUGE, _PREFIX + name, description, labels)


def _histogram(name: str, description: str, *labels: str, buckets: tuple[float, ...]) -> Metric:
    return Metric(MetricKind.HISTOGRAM, _PREFIX + name, description, labels, buckets)


# --- Sending

RECIPIENTS = _counter(
    "recipients",
    "Recipients that came to a final state: sent, failed, unknown, cancelled. Late evidence that "
    "settles an unknown one counts it a second time, under what it became.",
    "state",
)
DELIVERIES = _counter(
    "deliveries",
    "Mails that came to a final status, all their recipients together. One whose status changes "
    "later (late evidence, sent again) counts again.",
    "status",
)
ATTEMPTS = _counter(
    "attempts",
    "Transmissions by what became of them (sent, not_sent, unknown) and the error that ended them "
    "(empty without one).",
    "outcome",
    "error_type",
)
QUEUE_DEPTH = _gauge(
    "queue_depth", "Deliveries that are not settled: queued, sending, unknown.", "status"
)
QUEUE_OLDEST = _gauge(
    "queue_oldest_due_seconds",
    "How long the oldest delivery that is due (queued or sending) has been; 0 without one.",
)
SMTP_PHASE = _histogram(
    "smtp_phase_seconds",
    "Duration of a phase of a transmission: connect, tls, auth, envelope, body, final_reply. "
    "With TLS from the first byte, connect includes it.",
    "phase",
    buckets=_WAITS,
)

# --- Replication

REPLICATED_MAILS = _counter("replicated_mails", "Mails that were new to the store.")
REPLICATED_BYTES = _counter("replicated_bytes", "Octets of the mails that were new to the store.")
BATCHES = _counter(
    "batches", "Batches that came to a state: stored, acknowledged, settled, abandoned.", "state"
)
MAIL_AGE = _histogram(
    "replication_mail_age_seconds",
    "Time from a mail's arrival on its server (INTERNALDATE) until it was stored here.",
    buckets=_AGES,
)
BATCH_DURATION = _histogram(
    "batch_seconds",
    "Time from the commit of a fetched batch until it was settled, its callback included.",
    buckets=_LONG_WAITS,
)
CALLBACKS = _counter(
    "callbacks", "Callbacks that ended, by kind and outcome: completed, failed.", "kind", "outcome"
)
CALLBACK_DURATION = _histogram(
    "callback_seconds",
    "Time from the start of a callback until it ended, its retries included.",
    "kind",
    "outcome",
    buckets=_LONG_WAITS,
)

# --- The store

COMMIT_DURATION = _histogram(
    "commit_seconds",
    "Duration of a group commit: all its writes and the commit.",
    buckets=_WAITS,
)
COMMIT_GROUP = _histogram(
    "commit_group_writes",
    "Writes that shared a commit.",
    buckets=(1, 2, 5, 10, 20, 50, 100),
)
CONTENT_BYTES = _counter(
    "content_bytes", "Octets of content stored, by place: database, blob.", "place"
)

METRICS: tuple[Metric, ...] = (
    RECIPIENTS,
    DELIVERIES,
    ATTEMPTS,
    QUEUE_DEPTH,
    QUEUE_OLDEST,
    SMTP_PHASE,
    REPLICATED_MAILS,
    REPLICATED_BYTES,
    BATCHES,
    MAIL_AGE,
    BATCH_DURATION,
    CALLBACKS,
    CALLBACK_DURATION,
    COMMIT_DURATION,
    COMMIT_GROUP,
    CONTENT_BYTES,
)
"""All of them."""
