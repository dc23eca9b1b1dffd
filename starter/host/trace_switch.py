"""Whether traces are wanted. Without them OpenTelemetry is not even loaded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starter.host.tracing import Traces


def open_traces() -> Traces | None:
    """Return traces to the receiver that OpenTelemetry's own variables name; None without one."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if not any(os.environ.get(name, "").strip() for name in names):
        return None
    from starter.host.tracing import Traces

    return Traces()
