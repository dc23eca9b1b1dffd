"""A scripted IMAP server as a fixture, its misdeeds, and what every one of them must end in."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest
from pydantic import SecretStr

from activities.mail.imap import ImapConnector, ImapMailbox
from activities.ports import Endpoint
from models.account import LoginMethod, Security
from models.errors import ConnectorError, ErrorType
from tests.imap_server import Answer, Command, ImapServer, Session

TIMEOUT: Final = 0.5
PASSWORD: Final = "hunter2-secret"


def endpoint(server: ImapServer, **changes: object) -> Endpoint:
    given = Endpoint(
        host="localhost",
        port=server.port,
        security=Security.NONE,
        login=LoginMethod.BASIC,
        username="user",
        password=SecretStr(PASSWORD),
        timeout=timedelta(seconds=TIMEOUT),
        check_identity=True,
    )
    return replace(given, **changes)  # type: ignore[arg-type]


@contextmanager
def fails_soon(*types: ErrorType, within: float = TIMEOUT + 2) -> Iterator[None]:
    """Expect a ``ConnectorError`` in time, without the password, in less than 128 MB more."""
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConnectorError) as caught:
        yield
    assert time.monotonic() - started < within
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 128 * 1024
    assert not types or caught.value.type in types
    assert PASSWORD not in str(caught.value)


@pytest.fixture
def server() -> Iterator[ImapServer]:
    with ImapServer() as server:
        yield server


@contextmanager
def connected(server: ImapServer, folder: str | None = "INBOX") -> Iterator[ImapMailbox]:
    with ImapConnector().connect(endpoint(server)) as mailbox:
        assert isinstance(mailbox, ImapMailbox)
        if folder is not None:
            mailbox.open(folder, read_only=False)
        yield mailbox


def connect(server: ImapServer, **changes: object) -> None:
    with ImapConnector().connect(endpoint(server, **changes)):
        pass


def forever(data: bytes, *, pause: float = 0) -> Answer:
    """An answer that never ends."""

    async def answer(session: Session, command: Command) -> None:
        while True:
            await session.send(data)
            if pause:
                await asyncio.sleep(pause)

    return answer


def then_cut(data: bytes) -> Answer:
    """An answer after which the connection is closed."""

    async def answer(session: Session, command: Command) -> None:
        await session.send(data.replace(b"TAG", command.tag))
        session.writer.close()

    return answer


def then_silent(data: bytes) -> Answer:
    async def answer(session: Session, command: Command) -> None:
        await session.send(data.replace(b"TAG", command.tag))
        await asyncio.sleep(60)

    return answer


def dripping(data: bytes, pause: float = 0.05) -> Answer:
    """One octet at a time, each well within the timeout."""

    async def answer(session: Session, command: Command) -> None:
        for octet in data:
            await session.send(bytes([octet]))
            await asyncio.sleep(pause)

    return answer


def fetch_all(mailbox: ImapMailbox) -> list[bytes]:
    return [found.raw for found in mailbox.fetch([1, 2, 3])]


CALLS: Final[dict[str, Callable[[ImapMailbox], object]]] = {
    "LIST": lambda m: m.folders(),
    "SELECT": lambda m: m.open("INBOX", read_only=False),
    "EXAMINE": lambda m: m.open("INBOX", read_only=True),
    "UID SEARCH": lambda m: m.uids([(1, 9)]),
    "UID FETCH": fetch_all,
    "UID MOVE": lambda m: m.move([1, 2], "INBOX"),
    "UID STORE": lambda m: m.remove([1, 2]),
    "UID EXPUNGE": lambda m: m.remove([1, 2]),
    "APPEND": lambda m: m.append("INBOX", b"Subject: x\r\n\r\n"),
}
