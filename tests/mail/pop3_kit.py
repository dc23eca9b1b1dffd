"""What the POP3 tests share: endpoints, numbers in memory, misdeeds of a server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from activities.mail.pop3 import Pop3Connector, Pop3Mailbox
from activities.ports import Endpoint, FolderState
from activities.store.accounts import Secrets
from activities.store.assembly import Store, open_store
from activities.store.uidls import UidlNumbering
from models.account import AccountSettings, IncomingProtocol, LoginMethod, Security
from models.settings import Settings
from tests.pop3_server import Answer, Pop3Server, Session
from tests.stores import Stores
from tools.servers.dovecot import Dovecot

ACCOUNT = "pop3-account"
PASSWORD = "hunter2-secret"
TIMEOUT = 0.5
EVERYTHING = [(1, 2**32 - 1)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, stores: Stores) -> Iterator[Store]:
    """A store; tests tell their maildrops apart by their users."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("store"), **stores.fresh())
    opened = open_store(settings)
    described = AccountSettings.model_validate(
        {
            "name": ACCOUNT,
            "email_address": "a@mail.test",
            "incoming": {"protocol": "pop3s", "host": "localhost", "username": "u"},
        }
    )
    with opened.database.write() as session:
        opened.accounts.add(session, ACCOUNT, described, Secrets(incoming=SecretStr("x")))
    yield opened
    opened.close()


def scripted(server: Pop3Server, **changes: Any) -> Endpoint:
    given = Endpoint(
        host="localhost",
        port=server.port,
        security=Security.NONE,
        login=LoginMethod.BASIC,
        # The port, so that each test's maildrop is one of its own.
        username=f"user-{server.port}",
        password=SecretStr(PASSWORD),
        timeout=timedelta(seconds=TIMEOUT),
        check_identity=True,
        protocol=IncomingProtocol.POP3,
        account_id=ACCOUNT,
    )
    return replace(given, **changes)


def real(server: Dovecot, user: str, security: Security = Security.NONE) -> Endpoint:
    return Endpoint(
        host="localhost",
        port=server.pop3s_port if security is Security.TLS else server.pop3_port,
        security=security,
        login=LoginMethod.BASIC,
        username=user,
        password=SecretStr(server.password),
        timeout=timedelta(seconds=10),
        check_identity=True,
        protocol=IncomingProtocol.POP3,
        account_id=ACCOUNT,
    )


@contextmanager
def connected(store: Store, endpoint: Endpoint, **options: Any) -> Iterator[Pop3Mailbox]:
    connector = Pop3Connector(UidlNumbering(store.database), **options)
    with connector.connect(endpoint) as mailbox:
        assert isinstance(mailbox, Pop3Mailbox)
        yield mailbox


@contextmanager
def opened(
    store: Store, endpoint: Endpoint, *, read_only: bool = False, **options: Any
) -> Iterator[Pop3Mailbox]:
    with connected(store, endpoint, **options) as mailbox:
        mailbox.open("INBOX", read_only=read_only)
        yield mailbox


def state(store: Store, endpoint: Endpoint) -> FolderState:
    with connected(store, endpoint) as mailbox:
        return mailbox.open("INBOX", read_only=True)


def fetched(
    store: Store, endpoint: Endpoint, uids: Sequence[int] | None = None, **options: Any
) -> list[tuple[int, bytes]]:
    """Number and content of the mails."""
    with opened(store, endpoint, read_only=True, **options) as mailbox:
        wanted = mailbox.uids(EVERYTHING) if uids is None else uids
        return [(mail.uid, mail.raw) for mail in mailbox.fetch(wanted)]


def then_cut(data: bytes) -> Answer:
    async def answer(session: Session, _argument: bytes) -> None:
        await session.send(data)
        session.writer.close()

    return answer


def then_silent(data: bytes) -> Answer:
    async def answer(session: Session, _argument: bytes) -> None:
        await session.send(data)
        await asyncio.sleep(60)

    return answer


def forever(start: bytes, data: bytes) -> Answer:
    async def answer(session: Session, _argument: bytes) -> None:
        await session.send(start)
        while True:
            await session.send(data)

    return answer


def folder_of(server: Dovecot, user: str) -> list[Path]:
    """The files of a user's mails."""
    where = server.maildir(user)
    return sorted([*(where / "new").iterdir(), *(where / "cur").iterdir()])
