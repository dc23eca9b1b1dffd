"""Fixtures: a running connector, accounts on the mail servers, clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client

from tests.e2e.harness import Connector, connector_settings, fresh, new_namespace
from tests.stores import Stores
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot
from tools.servers.postfix import Postfix
from tools.temporal import DevServer

MakeConnector = Callable[..., Connector]


def add_namespace(server: DevServer) -> str:
    """Add a namespace to a server."""
    # In a thread: a fixture must not disturb the event loop of the test it is set up for.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, new_namespace(server.address)).result()


@pytest.fixture(scope="session")
def make_connector(
    tmp_path_factory: pytest.TempPathFactory,
    temporal_server: DevServer,
    test_ca: TestCA,
    stores: Stores,
) -> Iterator[MakeConnector]:
    """Start a connector in a namespace of its own; keyword arguments are settings."""
    with ExitStack() as running:

        def make(**settings: Any) -> Connector:
            namespace = add_namespace(temporal_server)
            described = connector_settings(
                stores,
                tmp_path_factory.mktemp("data"),
                temporal_server.address,
                namespace,
                **({"ca_file": test_ca.ca_file} | settings),
            )
            return running.enter_context(Connector(described))

        yield make


@pytest.fixture(scope="session")
def common_connector(make_connector: MakeConnector) -> Connector:
    """A connector that many tests share."""
    return make_connector()


@pytest.fixture(scope="session")
def talkative(server_directory: Path, test_ca: TestCA) -> Iterator[Dovecot]:
    """A mail server that writes down what its clients say (see `RawLog`)."""
    where = server_directory / "talkative"
    with Dovecot(where, test_ca.issue(), extra="rawlog_dir = %h/rawlog") as server:
        yield server


@pytest.fixture
def connector(common_connector: Connector) -> Connector:
    """The connector of a test; files that need one of their own override it."""
    return common_connector


@pytest_asyncio.fixture
async def client(connector: Connector) -> Client:
    """A client with the connector's keys."""
    return await connector.client()


@pytest_asyncio.fixture
async def stranger(connector: Connector) -> Client:
    """A client with the SDK's default converter and no key."""
    return await connector.stranger()


@pytest.fixture
def user() -> str:
    """The address of a mailbox that nobody else has; also its user name."""
    return f"{fresh('user')}@example.net"


@pytest.fixture
def account(connector: Connector, dovecot: Dovecot, postfix: Postfix, user: str) -> str:
    """An account that sends through Postfix and retrieves from Dovecot."""
    return connector.add_account(
        password=dovecot.password,
        email_address=user,
        outgoing=outgoing(postfix, username=user),
        incoming=incoming(dovecot, username=user),
    )


def outgoing(postfix: Postfix, **changes: Any) -> dict[str, Any]:
    """Settings of the Postfix server, by STARTTLS."""
    return {"host": postfix.host, "port": postfix.smtp_port, "security": "starttls"} | changes


def incoming(dovecot: Dovecot, **changes: Any) -> dict[str, Any]:
    """Settings of the Dovecot server, by implicit TLS."""
    return {"host": dovecot.host, "port": dovecot.imaps_port, "protocol": "imaps"} | changes


def data_folder(connector: Connector) -> Path:
    """Where a connector keeps its large content."""
    return connector.settings.data_dir / "content"
