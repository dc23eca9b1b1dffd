"""Our search attributes in Temporal: registered once in each namespace, by command or by a worker.

A workflow that sets one which its namespace does not know waits for ever. So nothing works before
all are there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from models.errors import ConnectorError, ErrorType
from models.names import SearchAttribute

TYPES: Mapping[str, IndexedValueType.ValueType] = {
    name.value: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD for name in SearchAttribute
}
"""The registry."""

_KNOWN_EVERYWHERE_SECONDS = 2.5
"""Services of the server look for changed namespaces every 2 seconds
(``system.namespaceCacheRefreshInterval``).
"""
_NOBODY = frozenset({RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED})


async def register(client: Client) -> list[str]:
    """Register what is missing in the client's namespace, and wait until it can be used.

    Returns:
        What was missing; empty when all had been there.

    Raises:
        ConnectorError: ``SearchAttributesUnusable`` when the server refuses, or has one of the
            names with another type; ``InvalidInput`` when it does not have the namespace;
            ``ConnectionFailed`` when it does not answer.
    """
    known = await _known(client)
    for name, kind in TYPES.items():
        if known.get(name, kind) != kind:
            raise _unusable(
                f"namespace {client.namespace} has the search attribute {name} with the type "
                f"{_type_name(known[name])}, and we need {_type_name(kind)}; remove or rename it "
                "there, or give us another namespace"
            )
    missing = {name: kind for name, kind in TYPES.items() if name not in known}
    if not missing:
        return []
    try:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
        )
    except RPCError as error:
        if set(missing) - set(await _known(client)):  # else another process was first
            raise _refused(client, error, list(missing)) from None
    await asyncio.sleep(_KNOWN_EVERYWHERE_SECONDS)
    return list(missing)


async def _known(client: Client) -> Mapping[str, IndexedValueType.ValueType]:
    try:
        answer = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace), retry=True
        )
    except RPCError as error:
        raise _refused(client, error, list(TYPES)) from None
    return answer.custom_attributes


def _refused(client: Client, error: RPCError, names: list[str]) -> ConnectorError:
    if error.status is RPCStatusCode.NOT_FOUND:
        return ConnectorError(
            ErrorType.INVALID_INPUT,
            f"Temporal has no namespace {client.namespace}; create it, or run "
            "'python -m starter temporal setup --create-namespace'",
            field="EMAIL_CONNECTOR_TEMPORAL_NAMESPACE",
        )
    if error.status in _NOBODY:
        return ConnectorError(ErrorType.CONNECTION_FAILED, "Temporal did not answer; try again")
    wanted = ", ".join(f"{name} ({_type_name(TYPES[name])})" for name in names)
    return _unusable(
        f"Temporal refused to register the search attributes of namespace {client.namespace} "
        f"({error.status.name}: {error.message}); as somebody who may, run "
        f"'python -m starter temporal setup', or add them by your provider's own means: {wanted}"
    )


def _unusable(message: str) -> ConnectorError:
    return ConnectorError(ErrorType.SEARCH_ATTRIBUTES_UNUSABLE, message)


def _type_name(kind: IndexedValueType.ValueType) -> str:
    name = IndexedValueType.Name(kind).removeprefix("INDEXED_VALUE_TYPE_")
    return "".join(word.capitalize() for word in name.split("_"))
