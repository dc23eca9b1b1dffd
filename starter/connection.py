"""Opens what commands work with: settings, the store, a connection to Temporal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError
from temporalio.client import Client
from temporalio.envconfig import ClientConfig

from activities.crypto.keyring import load_keyring
from activities.store.assembly import Store, open_store
from models.connection import connect
from models.errors import ConnectorError, ErrorType
from models.settings import Settings
from models.wire import data_converter, first_problem
from starter.commands import Commands
from starter.failures import silent_temporal


def load_settings() -> Settings:
    """Return the settings; raises ``InvalidInput`` that names the environment variable."""
    try:
        return Settings()
    except ValidationError as error:
        field, reason = first_problem(error)
        raise ConnectorError(
            ErrorType.INVALID_INPUT, reason, field=f"EMAIL_CONNECTOR_{field.upper()}"
        ) from None


@contextmanager
def opened_store(settings: Settings | None = None) -> Iterator[Store]:
    """The store while the block runs."""
    store = open_store(settings or load_settings())
    try:
        yield store
    finally:
        store.close()


async def connected(settings: Settings) -> Commands:
    """Return commands over a new connection to Temporal; raises as ``connected_client``."""
    return Commands(await connected_client(settings))


async def connected_client(settings: Settings) -> Client:
    """Return a new connection to Temporal.

    Raises:
        ConnectorError: ``ConnectionFailed``, with the address that was tried.
    """
    keys = load_keyring(settings)
    try:
        return await connect(settings, data_converter(keys.payloads))
    except RuntimeError as error:
        if "connect" not in str(error).lower():
            # The parser's own words may quote a line of the file, and with it an API key.
            raise ConnectorError(
                ErrorType.INVALID_INPUT,
                "Temporal's configuration file or profile cannot be read; look at "
                "TEMPORAL_CONFIG_FILE and TEMPORAL_PROFILE",
            ) from None
        raise silent_temporal(temporal_address(settings)) from None


def temporal_address(settings: Settings) -> str:
    """Return where Temporal is looked for, in the order of ``models.connection``."""
    configured = ClientConfig.load_client_connect_config().get("target_host")
    return settings.temporal_address or configured or "127.0.0.1:7233"
