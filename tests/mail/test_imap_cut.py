"""A worker that ends cuts its connections: whoever waits on one hears at once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from pydantic import SecretStr

from activities.mail.imap import ImapConnector
from activities.ports import Endpoint
from models.account import LoginMethod, Security
from models.errors import ConnectorError, ErrorType

_LONG = timedelta(hours=1)


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def endpoint(server: socket.socket, security: Security) -> Endpoint:
    return Endpoint(
        host="127.0.0.1",
        port=server.getsockname()[1],
        security=security,
        login=LoginMethod.BASIC,
        username="user",
        password=SecretStr("password"),
        timeout=_LONG,
        check_identity=True,
    )


class Waiting:
    """A thread that logs in, and how that ended."""

    def __init__(self, connector: ImapConnector, target: Endpoint) -> None:
        self.error: ConnectorError | None = None
        self._connector = connector
        self._target = target
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            with self._connector.connect(self._target):
                raise AssertionError("a silent server logged somebody in")
        except ConnectorError as error:
            self.error = error

    def end(self) -> ErrorType | None:
        """Type of the error it ended with."""
        self.thread.join(30)
        assert not self.thread.is_alive()
        return self.error.type if self.error else None


@pytest.mark.parametrize("security", [Security.NONE, Security.TLS])
def test_who_waits_for_an_answer_or_a_handshake_hears_of_the_cut(
    silent: socket.socket, security: Security
) -> None:
    connector = ImapConnector()
    waiting = [Waiting(connector, endpoint(silent, security)) for _ in range(3)]
    accepted = [silent.accept()[0] for _ in waiting]
    if security is Security.TLS:
        for each in accepted:
            each.recv(1)  # the handshake has begun
    connector.cut()
    assert [each.end() for each in waiting] == [ErrorType.CONNECTION_LOST] * 3
    for each in accepted:
        each.close()


def test_who_comes_after_the_cut_hears_of_it_too(silent: socket.socket) -> None:
    connector = ImapConnector()
    connector.cut()
    late = Waiting(connector, endpoint(silent, Security.NONE))
    assert late.end() is ErrorType.CONNECTION_LOST
