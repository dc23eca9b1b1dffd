"""Recorded histories, replayed: running workflows can go on with the code as it is now.

When one fails here, the sequence of steps of a workflow has changed. Keep the old way behind
`workflow.patched` for the runs that are under way; do not record the history again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio.client import WorkflowHistory
from temporalio.worker import Interceptor, Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import NondeterminismError

from models.names import ActivityName, WorkflowType
from models.wire import data_converter
from starter.host.tracing import Traces
from worker import SANDBOX
from workflows._guard import InputGuard
from workflows.registry import FAILURES, WORKFLOWS

FOLDER = Path(__file__).parent / "histories"
RECORDED = sorted(FOLDER.glob("*/*.json"))


def replayer(*interceptors: Interceptor) -> Replayer:
    return Replayer(
        workflows=WORKFLOWS,
        data_converter=data_converter(None),
        interceptors=[*interceptors, InputGuard()],
        workflow_runner=SandboxedWorkflowRunner(restrictions=SANDBOX),
        workflow_failure_exception_types=FAILURES,
    )


def recorded(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def history(document: dict[str, Any]) -> WorkflowHistory:
    return WorkflowHistory.from_json(document["workflowId"], document["history"])


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_replay(path: Path) -> None:
    await replayer().replay_workflow(history(recorded(path)))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_replay_with_traces(path: Path) -> None:
    """Traces can be switched on and off under running workflows, and a replay makes none."""
    exporter = InMemorySpanExporter()
    traces = Traces(exporter)
    await replayer(traces.interceptor).replay_workflow(history(recorded(path)))
    traces.close()
    assert exporter.get_finished_spans() == ()


def other_activity(document: dict[str, Any]) -> None:
    scheduled = attributes(document, "activityTaskScheduledEventAttributes")
    scheduled["activityType"]["name"] = "another"


def other_child(document: dict[str, Any]) -> None:
    attributes(document, "startChildWorkflowExecutionInitiatedEventAttributes")["workflowId"] = "x"


def attributes(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(e[name] for e in document["history"]["events"] if name in e)
    return found


@pytest.mark.parametrize(
    ("case", "change"),
    [
        ("SendEmail/sent", other_activity),
        ("SendEmail/given_up", other_activity),
        ("RetrieveEmailMessages/moved_with_callbacks", other_child),
        ("RetrieveEmailMessages/carried_on", other_activity),
        ("GetEmailMessage/found", other_activity),
    ],
)
async def test_a_changed_sequence_is_noticed(
    case: str, change: Callable[[dict[str, Any]], None]
) -> None:
    document = recorded(FOLDER / f"{case}.json")
    change(document)
    with pytest.raises(NondeterminismError):
        await replayer().replay_workflow(history(document))


def test_every_type_and_step_is_recorded() -> None:
    assert {path.parent.name for path in RECORDED} >= {str(kind) for kind in WorkflowType}
    steps = {
        event["activityTaskScheduledEventAttributes"]["activityType"]["name"]
        for path in RECORDED
        for event in recorded(path)["history"]["events"]
        if "activityTaskScheduledEventAttributes" in event
    }
    assert steps == {str(name) for name in ActivityName}
