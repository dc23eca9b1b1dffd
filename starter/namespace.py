"""Creates the Temporal namespace that a client names."""

from __future__ import annotations

import asyncio

from google.protobuf.duration_pb2 import Duration
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from models.errors import ConnectorError, ErrorType

_PATIENCE_SECONDS = 30
_DAY = 86_400


async def ensure_namespace(client: Client, retention_days: int) -> bool:
    """Create the client's namespace if it is not there; says whether it was created.

    Args:
        client: A connection that names the namespace.
        retention_days: How long the histories of runs that are over are kept.

    Raises:
        ConnectorError: ``ConnectionFailed`` when the server does not answer or does not come to
            know it; ``InvalidInput`` when it refuses.
    """
    if await _answers(client):
        return False
    request = RegisterNamespaceRequest(
        namespace=client.namespace,
        workflow_execution_retention_period=Duration(seconds=retention_days * _DAY),
    )
    created = True
    try:
        await client.workflow_service.register_namespace(request)
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise _refused(client, error) from None
        created = False
    for _ in range(_PATIENCE_SECONDS * 2):
        # Its own caches need a moment before it can be used.
        if await _answers(client) and await _has_attributes(client):
            return created
        await asyncio.sleep(0.5)
    raise ConnectorError(
        ErrorType.CONNECTION_FAILED,
        f"Temporal did not come to know its new namespace {client.namespace} in "
        f"{_PATIENCE_SECONDS} s; try again",
    )


async def _answers(client: Client) -> bool:
    try:
        await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace)
        )
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise _refused(client, error) from None
    return True


async def _has_attributes(client: Client) -> bool:
    try:
        await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
    except RPCError as error:
        if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.UNAVAILABLE):
            return False
        raise _refused(client, error) from None
    return True


def _refused(client: Client, error: RPCError) -> ConnectorError:
    if error.status in (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED):
        return ConnectorError(ErrorType.CONNECTION_FAILED, "Temporal did not answer; try again")
    return ConnectorError(
        ErrorType.INVALID_INPUT,
        f"Temporal refused to create the namespace {client.namespace}: {error.message}",
        field="EMAIL_CONNECTOR_TEMPORAL_NAMESPACE",
    )
