"""Session fixtures: real servers, started when a test first asks, one set per test process.

A component that is not installed fails the tests that need it; it never skips them.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.names import SearchAttribute
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot
from tools.servers.postfix import Postfix
from tools.servers.postgres import Postgres
from tools.temporal import DevServer

SEARCH_ATTRIBUTES = {name.value: "Keyword" for name in SearchAttribute}


@pytest.fixture(scope="session")
def server_directory() -> Iterator[Path]:
    """A folder for the session's servers."""
    # Not pytest's own: the servers keep unix sockets here, whose paths must be short, and run as
    # users of their own, who must be able to enter it.
    directory = Path(tempfile.mkdtemp(prefix="ec-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def test_ca(server_directory: Path) -> TestCA:
    """The authority that signs the certificates of all test servers."""
    return TestCA(server_directory / "ca")


@pytest.fixture(scope="session")
def dovecot(server_directory: Path, test_ca: TestCA) -> Iterator[Dovecot]:
    """IMAP, POP3 and LMTP; every user may log in with `dovecot.password`."""
    with Dovecot(server_directory / "dovecot", test_ca.issue()) as server:
        yield server


@pytest.fixture(scope="session")
def postfix(server_directory: Path, test_ca: TestCA, dovecot: Dovecot) -> Iterator[Postfix]:
    """SMTP with STARTTLS, TLS and AUTH; every mail ends up in `dovecot`."""
    with Postfix(
        server_directory / "postfix",
        test_ca.issue(),
        lmtp_port=dovecot.lmtp_port,
        auth_port=dovecot.auth_port,
    ) as server:
        yield server


@pytest.fixture(scope="session")
def postgres(server_directory: Path) -> Iterator[Postgres]:
    """A PostgreSQL server; take a database of your own with `create_database`."""
    with Postgres(server_directory / "postgres") as server:
        yield server


@pytest.fixture(scope="session")
def temporal_server(server_directory: Path) -> Iterator[DevServer]:
    """Temporal's development server, with the project's search attributes and time skipping."""
    with DevServer(
        server_directory / "temporal",
        search_attributes=SEARCH_ATTRIBUTES,
        dynamic_config={
            "frontend.WorkflowTimeSkippingEnabled": "true",
            # Tests add namespaces; by default a server looks for new ones every 2 seconds.
            "system.namespaceCacheRefreshInterval": '"200ms"',
        },
    ) as server:
        yield server
