"""Runs as Temporal's visibility knows them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from pydantic import BaseModel
from temporalio.client import Client, WorkflowExecution
from temporalio.common import SearchAttributeKey

from models.names import SearchAttribute
from starter.run_filter import RunFilter
from starter.ui_links import run_url


class ListedRun(BaseModel):
    """A run: what it is about, and how it stands."""

    workflow_id: str
    run_id: str
    type: str
    account_id: str | None
    direction: str | None
    status: str | None
    """How the mail stands: what the run said of itself last."""
    execution: str | None
    """How the run stands, for Temporal: a terminated one has no last word."""
    started_at: datetime
    ended_at: datetime | None
    url: str


async def list_runs(
    client: Client, wanted: RunFilter, *, ui_url: str, limit: int
) -> AsyncIterator[ListedRun]:
    """Yield the latest runs first; visibility lags behind by about a second."""
    async for run in client.list_workflows(wanted.query(), limit=limit):
        yield _listed(run, client.namespace, ui_url)


def _listed(run: WorkflowExecution, namespace: str, ui_url: str) -> ListedRun:
    def attribute(name: SearchAttribute) -> str | None:
        return run.typed_search_attributes.get(SearchAttributeKey.for_keyword(name))

    return ListedRun(
        workflow_id=run.id,
        run_id=run.run_id,
        type=run.workflow_type,
        account_id=attribute(SearchAttribute.ACCOUNT),
        direction=attribute(SearchAttribute.DIRECTION),
        status=attribute(SearchAttribute.STATUS),
        execution=run.status.name.lower() if run.status else None,
        started_at=run.start_time,
        ended_at=run.close_time,
        url=run_url(ui_url, run.id, run.run_id, namespace),
    )
