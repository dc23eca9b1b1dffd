"""Pages of Temporal's UI."""

from __future__ import annotations

from urllib.parse import quote


def run_url(ui_url: str, workflow_id: str, run_id: str, namespace: str = "default") -> str:
    """Return the page of a run."""
    return f"{_workflows(ui_url, namespace)}/{quote(workflow_id, safe='')}/{run_id}/history"


def list_url(ui_url: str, query: str, namespace: str = "default") -> str:
    """Return the page that lists the runs which a visibility query finds."""
    return f"{_workflows(ui_url, namespace)}?query={quote(query, safe='')}"


def _workflows(ui_url: str, namespace: str) -> str:
    return f"{ui_url.rstrip('/')}/namespaces/{quote(namespace, safe='')}/workflows"
