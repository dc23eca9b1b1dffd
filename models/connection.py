"""Connects to Temporal: our settings first, then Temporal's own variables and profiles."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.client import Client, Interceptor
from temporalio.converter import DataConverter
from temporalio.envconfig import ClientConfig
from temporalio.runtime import Runtime

from models.settings import Settings


async def connect(
    settings: Settings,
    converter: DataConverter,
    *,
    runtime: Runtime | None = None,
    interceptors: Sequence[Interceptor] = (),
) -> Client:
    """Return a client that speaks our payload format."""
    config = dict(ClientConfig.load_client_connect_config())
    if settings.temporal_address:
        config["target_host"] = settings.temporal_address
    if settings.temporal_namespace:
        config["namespace"] = settings.temporal_namespace
    config.setdefault("target_host", "127.0.0.1:7233")
    return await Client.connect(
        **config,  # type: ignore[arg-type]
        data_converter=converter,
        runtime=runtime,
        interceptors=interceptors,
    )
