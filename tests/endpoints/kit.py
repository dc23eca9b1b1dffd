"""A store with mails that went through the real reader, the endpoints over it, and raw HTTP."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import SecretStr

from activities.mail.parse import parse
from activities.mail.render import render_html
from activities.ports import FetchedMail
from activities.store import inbox
from activities.store.accounts import Secrets
from activities.store.assembly import Store, open_store
from models.account import AccountSettings
from models.mailbox import RetrievalOptions
from models.settings import Settings

TOKEN = "a-token-of-the-tests-that-is-long-enough"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def settings(data_dir: Path, **changes: Any) -> Settings:
    """Settings of endpoints on any free port; large content begins early."""
    values: dict[str, Any] = {
        "data_dir": data_dir,
        "http_port": 0,
        "inline_content_bytes": 20_000,
        "codec_token": SecretStr(TOKEN),
        "shutdown_seconds": 1,
    }
    return Settings(**(values | changes))


@contextmanager
def opened(described: Settings) -> Iterator[Store]:
    """A store while the block runs."""
    store = open_store(described)
    try:
        yield store
    finally:
        store.close()


def add_account(store: Store) -> str:
    """Add an account; returns its id."""
    account_id = str(uuid.uuid4())
    described = AccountSettings.model_validate(
        {
            "name": account_id,
            "email_address": "a@example.org",
            "outgoing": {"host": "localhost", "login": "none"},
        }
    )
    with store.database.write() as session:
        store.accounts.add(session, account_id, described, Secrets(outgoing=SecretStr("x")))
    return account_id


def receive(
    store: Store, account_id: str, raw: bytes, *, pictures: bool = True, sanitize: bool = True
) -> str:
    """Put a mail into the store as replication does; returns its id."""
    arrival = inbox.arrival(account_id, FetchedMail(1, raw))
    mail = parse(raw)
    html = render_html(mail, RetrievalOptions(render_inline_images=pictures))
    pieces = inbox.pieces(arrival, mail, html, keep_source=not sanitize)
    content = store.content.prepare(pieces)
    with store.database.write() as session:
        inbox.insert(session, account_id, [(arrival, mail)], content)
    return arrival.message_id


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """Sends request lines exactly as they are: clients tidy up what a stranger does not."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def ask(self, target: str | bytes, method: str = "GET", **headers: str) -> Answer:
        """Send one request without a body."""
        return await self.request(target, method, b"", headers)

    async def request(
        self, target: str | bytes, method: str, body: bytes, headers: dict[str, str]
    ) -> Answer:
        """Send one request on this connection and read its answer."""
        encoded = target if isinstance(target, bytes) else target.encode()
        fields = {"host": "127.0.0.1", "content-length": str(len(body)), **headers}
        lines = [f"{name.replace('_', '-')}: {value}".encode() for name, value in fields.items()]
        head = b"\r\n".join([method.encode() + b" " + encoded + b" HTTP/1.1", *lines])
        self._writer.write(head + b"\r\n\r\n" + body)
        await self._writer.drain()
        text = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *rest = text.strip().split("\r\n")
        found = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in rest)}
        code = int(status.split(" ")[1])
        empty = method == "HEAD" or code in (204, 304)
        length = 0 if empty else int(found.get("content-length", "0"))
        return Answer(code, found, await self._reader.readexactly(length))


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    """A connection while the block runs."""
    async with Connection(port) as connection:
        yield connection


def target_of(url: str) -> str:
    """Path and query of a link."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"
