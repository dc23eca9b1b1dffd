"""Connects to Temporal: our settings first, then Temporal's own variables and profiles."""

from __future__ import annotations

from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.envconfig import ClientConfig

from models.settings import Settings


async def connect(settings: Settings, converter: DataConverter) -> Client:
    """Return a client that speaks our payload format."""
    config = dict(ClientConfig.load_client_connect_config())
    if settings.temporal_address:
        config["target_host"] = settings.temporal_address
    if settings.temporal_namespace:
        config["namespace"] = settings.temporal_namespace
    config.setdefault("target_host", "127.0.0.1:7233")
    return await Client.connect(**config, data_converter=converter)  # type: ignore[arg-type]
