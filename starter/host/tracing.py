"""OpenTelemetry traces: of Temporal by the SDK's interceptor, of servers' commands by ours.

What leaves is rebuilt from a list of what may: names of steps, ids, codes, sizes. The texts of
errors, which SDK and interceptor would attach, may quote a folder or a server, and stay here.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace import get_current_span as current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.contrib.opentelemetry import (
    TracingInterceptor,
    TracingWorkflowInboundInterceptor,
)
from temporalio.converter import DefaultPayloadConverter
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from starter.host.logs import contract_type

_FLUSH_SECONDS: Final = 2.0
_ERROR_TYPE: Final = "error.type"
_MAY_LEAVE: Final = frozenset(
    {
        "temporalWorkflowID",
        "temporalRunID",
        "temporalActivityID",
        "network.protocol.name",
        "server.address",
        "server.port",
        "smtp.reply_code",
        "smtp.size",
        "imap.mails",
        _ERROR_TYPE,
    }
)


class Traces:
    """``activities.ports.Tracing``, and the interceptor for clients and workers.

    Args:
        exporter: Where spans go; default: the receiver that the environment names, by OTLP/HTTP.
    """

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        )
        resource = Resource.create({} if named else {"service.name": "email-connector"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        reduced = OnlyWhatMayLeave(exporter or OTLPSpanExporter())
        self._provider.add_span_processor(BatchSpanProcessor(reduced))
        self._tracer = self._provider.get_tracer("email-connector")
        self.interceptor = Interceptor(self._tracer, self._provider.sampler)

    @contextmanager
    def command(self, protocol: str, verb: str, **facts: str | int) -> Iterator[_Step]:
        """A span named by the verb."""
        # Never the current span: nothing runs below it, and a generator would leave it behind.
        span = self._tracer.start_span(
            verb,
            kind=SpanKind.CLIENT,
            attributes={"network.protocol.name": protocol, **facts},
            record_exception=False,
            set_status_on_exception=False,
        )
        try:
            yield _Step(span)
        except GeneratorExit:
            raise
        except BaseException as error:
            _failed(span, error)
            raise
        finally:
            span.end()

    def close(self) -> None:
        """Hand over what is left; a receiver that is away gets two seconds."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(_FLUSH_SECONDS)


class _Step:
    """``activities.ports.Span``."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def fact(self, name: str, value: str | int) -> None:
        """Note a code, a count or a size."""
        self._span.set_attribute(name, value)


def _failed(span: Span, error: BaseException) -> None:
    span.set_status(StatusCode.ERROR)
    span.set_attribute(_ERROR_TYPE, _type_of(error))


def _type_of(error: BaseException) -> str:
    known = contract_type(error)
    return known.value if known else type(error).__name__


# --- What may leave -----------------------------------------------------------------------------


class OnlyWhatMayLeave(SpanExporter):
    """Exports spans without anything that is not on the list."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export them, rebuilt."""
        return self._exporter.export([_reduced(span) for span in spans])

    def shutdown(self) -> None:
        """Close the exporter."""
        self._exporter.shutdown()


def _reduced(span: ReadableSpan) -> ReadableSpan:
    attributes: Mapping[str, AttributeValue] = span.attributes or {}
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes={k: v for k, v in attributes.items() if k in _MAY_LEAVE},
        links=[type(link)(link.context) for link in span.links],
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


# --- Temporal -----------------------------------------------------------------------------------


class _TraceHeader(DefaultPayloadConverter):
    """Reads the header in which a trace travels; one that is nonsense is no trace.

    Anybody may start a workflow. An exception here would be a workflow task that is tried again
    for ever.
    """

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        try:
            (carrier,) = super().from_payloads(payloads, type_hints)
        except Exception:  # noqa: BLE001 - whatever a stranger sent, it is no trace
            return [{}]
        if not isinstance(carrier, dict):
            return [{}]
        return [{k: v for k, v in carrier.items() if isinstance(k, str) and isinstance(v, str)}]


_HEADER = _TraceHeader()
# Not the default one: W3C baggage is others' data, and would stand in histories in clear.
_PROPAGATOR = TraceContextTextMapPropagator()


class Interceptor(TracingInterceptor):
    """The SDK's interceptor; a workflow that nobody traced yet begins a trace of its own."""

    def __init__(self, tracer: Tracer, sampler: Sampler) -> None:
        super().__init__(tracer)
        self.text_map_propagator = _PROPAGATOR
        self.payload_converter = _HEADER
        self._sampler = sampler

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Trace an activity, and note the type of its error."""
        return super().intercept_activity(_Typed(next))

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[TracingWorkflowInboundInterceptor]:
        """The part that runs within the workflow."""
        super().workflow_interceptor_class(input)
        return type("WorkflowPart", (_WorkflowPart,), {"sampler": self._sampler})


class _WorkflowPart(TracingWorkflowInboundInterceptor):
    sampler: Sampler

    def __init__(self, next: WorkflowInboundInterceptor) -> None:
        super().__init__(next)
        self.text_map_propagator = _PROPAGATOR
        self.payload_converter = _HEADER

    def _load_workflow_context_carrier(self) -> dict[str, Any]:
        """The trace this belongs to: the caller's, else one that is derived from the chain of runs.

        Derived, not drawn: a replay, another worker and the run that continues this one find the
        same trace.
        """
        carrier = super()._load_workflow_context_carrier()
        if carrier and current_span(_PROPAGATOR.extract(carrier)).get_span_context().is_valid:
            return carrier
        digest = hashlib.sha256(workflow.info().first_execution_run_id.encode()).hexdigest()
        trace_id, span_id = digest[:32], digest[32:48]
        sampled = self.sampler.should_sample(None, int(trace_id, 16), "RunWorkflow")
        flag = int(sampled.decision is Decision.RECORD_AND_SAMPLE)
        self._workflow_context_carrier = {"traceparent": f"00-{trace_id}-{span_id}-{flag:02x}"}
        return self._workflow_context_carrier


class _Typed(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await super().execute_activity(input)
        except BaseException as error:
            current_span().set_attribute(_ERROR_TYPE, _type_of(error))
            raise
