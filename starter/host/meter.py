"""Our metrics beside the SDK's, on one page: Temporal's runtime holds the one registry."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

from temporalio.common import (
    MetricCommon,
    MetricCounter,
    MetricGaugeFloat,
    MetricHistogramFloat,
    MetricMeter,
)
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from activities.ports import Metrics
from activities.unwatched import NO_METRICS
from models.errors import ConnectorError, ErrorType
from models.metrics import METRICS, Metric, MetricKind
from models.settings import Settings
from starter.host.logs import core_logging


def open_runtime(settings: Settings) -> Runtime:
    """Return Temporal's runtime; with it the page of metrics is served, where one is wanted.

    Raises:
        ConnectorError: The address of the page cannot be listened on.
    """
    address = settings.metrics_address
    page = (
        PrometheusConfig(
            bind_address=address,
            counters_total_suffix=True,
            unit_suffix=True,
            durations_as_seconds=True,
            histogram_bucket_overrides={m.name: m.buckets for m in METRICS if m.buckets},
        )
        if address
        else None
    )
    try:
        return Runtime(
            telemetry=TelemetryConfig(
                logging=core_logging(), metrics=page, attach_service_name=False
            )
        )
    except ValueError:
        raise ConnectorError(
            ErrorType.INVALID_INPUT,
            f"cannot listen on {address}; each worker of a machine needs a port of its own",
            field="EMAIL_CONNECTOR_METRICS_ADDRESS",
        ) from None


def metrics_of(runtime: Runtime, settings: Settings) -> Metrics:
    """Return where our figures go: to the runtime's page, or nowhere when nobody reads it."""
    return TemporalMetrics(runtime.metric_meter) if settings.metrics_address else NO_METRICS


class TemporalMetrics:
    """``activities.ports.Metrics`` on a Temporal meter."""

    def __init__(self, meter: MetricMeter) -> None:
        self._instruments = {metric: _instrument(meter, metric) for metric in METRICS}
        # Labels have a handful of values each, so the cache holds every combination there is.
        self._labelled = lru_cache(maxsize=1024)(self._with_labels)

    def add(self, metric: Metric, amount: int = 1, **labels: str) -> None:
        """Add to a counter."""
        cast(MetricCounter, self._labelled(metric, tuple(labels.items()))).add(amount)

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Add a value to a histogram."""
        # A clock that was set back makes a duration negative, which the meter would refuse.
        histogram = cast(MetricHistogramFloat, self._labelled(metric, tuple(labels.items())))
        histogram.record(max(0.0, value))

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Set a gauge."""
        cast(MetricGaugeFloat, self._labelled(metric, tuple(labels.items()))).set(value)

    def _with_labels(self, metric: Metric, labels: tuple[tuple[str, str], ...]) -> MetricCommon:
        instrument = self._instruments[metric]
        return instrument.with_additional_attributes(dict(labels)) if labels else instrument


def _instrument(meter: MetricMeter, metric: Metric) -> MetricCommon:
    match metric.kind:
        case MetricKind.COUNTER:
            return meter.create_counter(metric.name, metric.description)
        case MetricKind.GAUGE:
            return meter.create_gauge_float(metric.name, metric.description)
        case MetricKind.HISTOGRAM:
            return meter.create_histogram_float(metric.name, metric.description)
