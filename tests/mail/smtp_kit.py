"""What the SMTP tests share."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from activities.mail.smtp import ClientSession, SmtpClient
from activities.ports import Endpoint, Reply, SmtpFailure, SmtpTransport
from models.account import LoginMethod, Security

SENDER, RCPT = "me@test.example", "you@test.example"
MAIL = b"Message-ID: <1@test.example>\r\nSubject: x\r\n\r\nHello\r\n"
PATIENCE = timedelta(seconds=0.5)

transport: SmtpTransport = SmtpClient()  # mypy: the contract is kept


def endpoint(port: int, **changes: Any) -> Endpoint:
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "security": Security.NONE,
        "login": LoginMethod.NONE,
        "username": None,
        "password": None,
        "timeout": timedelta(seconds=0.5),
        "check_identity": True,
    }
    return Endpoint(**(values | changes))


def basic(user: str = "bender", password: str = "bite-my-shiny") -> dict[str, Any]:
    return {"login": LoginMethod.BASIC, "username": user, "password": SecretStr(password)}


async def transact(
    session: ClientSession,
    content: bytes = MAIL,
    *,
    sender: str = SENDER,
    recipients: tuple[str, ...] = (RCPT,),
) -> Reply:
    await session.envelope(sender, recipients, len(content))
    await session.body(content)
    return await session.end_of_data(PATIENCE)


async def deliver(target: Endpoint, content: bytes = MAIL, **options: Any) -> Reply:
    async with SmtpClient().session(target) as session:
        return await transact(session, content, **options)


async def failure_of(target: Endpoint, content: bytes = MAIL, **options: Any) -> SmtpFailure:
    with pytest.raises(SmtpFailure) as caught:
        await deliver(target, content, **options)
    return caught.value
