"""The two pages of health, and what they do not say."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import ClientSession
from sqlalchemy import text

from activities.store.engine import Database
from activities.store.migrate import migrate
from models.errors import ConnectorError, ErrorType
from starter.host import health
from starter.host.health import Check, database_answers, health_served
from tools.servers.process import free_port


async def fine() -> bool:
    return True


async def down() -> bool:
    return False


async def broken() -> bool:
    raise ConnectionError("canary: the password is secret")


async def ask(page: str, **checks: Check) -> tuple[int, dict[str, object], str]:
    address = f"127.0.0.1:{free_port()}"
    async with (
        health_served(address, checks),
        ClientSession() as session,
        session.get(f"http://{address}{page}") as answer,
    ):
        body = await answer.text()
        return answer.status, json.loads(body), body


async def test_alive_whatever_the_parts_do() -> None:
    assert (await ask("/healthz", database=broken))[:2] == (200, {"status": "alive"})


async def test_ready_when_all_parts_are() -> None:
    status, page, _ = await ask("/readyz", temporal=fine, database=fine)
    assert (status, page) == (
        200,
        {"status": "ready", "parts": {"temporal": "ok", "database": "ok"}},
    )


@pytest.mark.parametrize("check", [down, broken])
async def test_not_ready_names_the_part_and_nothing_else(check: Check) -> None:
    status, page, body = await ask("/readyz", temporal=fine, database=check)
    assert (status, page) == (
        503,
        {"status": "not ready", "parts": {"temporal": "ok", "database": "failed"}},
    )
    assert "canary" not in body


async def test_a_part_that_hangs_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PATIENCE_SECONDS", 0.05)
    asked, answer = 0, asyncio.Event()

    async def hanging() -> bool:
        nonlocal asked
        asked += 1
        await answer.wait()
        return True

    address = f"127.0.0.1:{free_port()}"
    async with health_served(address, {"database": hanging}), ClientSession() as session:
        for _ in range(3):
            async with session.get(f"http://{address}/readyz") as response:
                assert response.status == 503
        assert asked == 1
        answer.set()
        await asyncio.sleep(0)
        async with session.get(f"http://{address}/readyz") as response:
            assert response.status == 200


async def test_a_database_that_is_gone_does_not_answer(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a' / 'test.db'}")
    migrate(database)
    check = database_answers(database)
    assert await check()
    with database.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    database.close()
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(ConnectorError) as caught:
        await check()
    assert caught.value.type is ErrorType.STORE_UNAVAILABLE
    database.close()


async def test_an_address_that_is_taken_is_named() -> None:
    address = f"127.0.0.1:{free_port()}"
    async with health_served(address, {}):
        with pytest.raises(ConnectorError) as caught:
            async with health_served(address, {}):
                pass
    assert caught.value.field == "EMAIL_CONNECTOR_HEALTH_ADDRESS"
    assert address in caught.value.message


async def test_without_an_address_nothing_listens() -> None:
    async with health_served(None, {"database": broken}):
        pass
