"""Identifiers and workflow ids with their inverses. Ids are opaque: never an address or a name."""

from __future__ import annotations

from uuid import UUID, uuid5

NAMESPACE = UUID("7b0c54a2-5d0e-5a0b-9a57-6c2f0d3d1c11")


def derived_id(*parts: str) -> str:
    """Return the id that always belongs to ``parts`` (RFC 9562 version 5).

    A step that is repeated (retried activity, reset workflow) derives the same id and so meets
    its own row instead of writing a second one.
    """
    return str(uuid5(NAMESPACE, "\x1f".join(parts)))


def message_id_for_run(workflow_id: str, first_run_id: str) -> str:
    """Id of the mail that a ``SendEmail`` chain sends.

    ``first_run_id`` survives resets and continue-as-new, so a reset run finds the ledger of the
    mail it has already sent (docs/adr/0003-mail-ids-survive-a-reset.md).
    """
    return derived_id("message", workflow_id, first_run_id)


def chain_of(workflow_id: str, first_run_id: str) -> str:
    """Name of a workflow chain, as leases and drivers are recorded."""
    return f"{workflow_id} {first_run_id}"


def parts_of_chain(chain: str) -> tuple[str, str]:
    """Inverse of ``chain_of``: workflow id and first run id."""
    workflow_id, _, first_run_id = chain.rpartition(" ")
    return workflow_id, first_run_id


def send_workflow_id(message_id: str) -> str:
    """Canonical workflow id for sending one mail."""
    return f"send/{message_id}"


def notify_workflow_id(message_id: str) -> str:
    """Workflow id of what tells the outcome of a queued mail."""
    return f"notify/{message_id}"


def message_id_of_send(workflow_id: str) -> str:
    """Inverse of ``send_workflow_id``."""
    return _part(workflow_id, "send", 1)


def retrieve_workflow_id(account_id: str, folder: str) -> str:
    """Canonical workflow id for retrieving one folder; the folder's name stays opaque."""
    return f"retrieve/{account_id}/{derived_id('folder', account_id, folder)}"


def subscription_workflow_id(account_id: str, folder: str) -> str:
    """Workflow id of what listens to one folder; the folder's name stays opaque."""
    return f"subscription/{account_id}/{derived_id('folder', account_id, folder)}"


def callback_workflow_id(kind: str, key: str) -> str:
    """Workflow id of a callback child: one completed child per kind and key."""
    return f"callback/{kind}/{key}"


def key_of_callback(workflow_id: str) -> tuple[str, str]:
    """Inverse of ``callback_workflow_id``: kind and key."""
    return _part(workflow_id, "callback", 1), _part(workflow_id, "callback", 2)


def _part(workflow_id: str, kind: str, index: int) -> str:
    parts = workflow_id.split("/")
    if parts[0] != kind or len(parts) <= index:
        raise ValueError(f"not a {kind} workflow id")
    return parts[index]
