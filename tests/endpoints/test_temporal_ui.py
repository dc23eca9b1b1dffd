"""Temporal's own UI and CLI read encrypted payloads through the codec server."""

from __future__ import annotations

import asyncio
import base64
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from playwright.async_api import Page, expect
from pydantic import SecretStr
from pydantic_core import to_json
from temporalio.client import Client
from yarl import URL

from activities.store.assembly import Store
from models.settings import Settings
from models.wire import data_converter
from starter.endpoints.access import CodecAccess
from starter.endpoints.server import UiFront, serving
from starter.ui_links import run_url
from tests.endpoints.browser import chromium
from tests.endpoints.kit import TOKEN, connected, opened, settings
from tools.servers.process import free_port
from tools.temporal import DevServer

CANARY = "canary of the input"


@dataclass
class Stage:
    """A development server with its UI behind the codec server, and an encrypted run."""

    server: DevServer
    settings: Settings
    store: Store
    port: int
    front: UiFront
    page: str
    """Path of the run in the UI."""
    sealed: str
    """Beginning of its input as Temporal holds it, in base64."""

    @property
    def ui(self) -> str:
        return f"http://127.0.0.1:{self.front.port}"

    def sign_in(self, at: str) -> str:
        return f"{at}/codec/login#{CodecAccess(SecretStr(TOKEN)).invitation()}"


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    shown_at = free_port()
    endpoint = f"http://127.0.0.1:{shown_at}/codec"
    server = DevServer(tmp_path / "temporal", ui=True, ui_codec_endpoint=endpoint)
    await asyncio.to_thread(server.start)
    try:
        front = UiFront(shown_at, server.ui_url or "")
        # The UI's own address too: there it is on another origin than the codec.
        described = settings(tmp_path / "data", codec_origins=[server.ui_url])
        with opened(described) as store:
            client = await Client.connect(
                server.address, data_converter=data_converter(store.keys.payloads)
            )
            run = await client.start_workflow("Any", {"word": CANARY}, id="run", task_queue="none")
            page = run_url("", run.id, run.first_execution_run_id or "")
            history = (
                await (await Client.connect(server.address))
                .get_workflow_handle("run")
                .fetch_history()
            )
            started = history.events[0].workflow_execution_started_event_attributes
            sealed = base64.b64encode(started.input.payloads[0].data).decode()[:30]
            async with serving(described, store, ui=front) as port:
                yield Stage(server, described, store, port, front, page, sealed)
    finally:
        await asyncio.to_thread(server.stop)


async def assert_encrypted(stage: Stage, page: Page, url: str) -> None:
    async with page.expect_response("**/codec/decode**") as answer:
        await page.goto(url)
    assert (await answer.value).status == 401
    await expect(page.get_by_text(stage.sealed).first).to_be_visible(timeout=30_000)
    assert CANARY not in await page.inner_text("body")


async def test_the_ui_shows_what_a_signed_in_browser_may_read(stage: Stage) -> None:
    async with chromium() as browser:
        page = await browser.new_page()
        await assert_encrypted(stage, page, f"{stage.ui}{stage.page}")
        await page.goto(stage.sign_in(stage.ui))
        await page.wait_for_url(f"{stage.ui}/**/workflows**")
        await page.goto(f"{stage.ui}{stage.page}")
        await expect(page.get_by_text(CANARY).first).to_be_visible(timeout=30_000)
        assert stage.server.ui_port != stage.front.port
        cookies = await browser.cookies(f"{stage.ui}/codec/decode")
        (session,) = [each for each in cookies if each["name"] == "email_connector_codec"]
        assert (session["path"], session["httpOnly"]) == ("/codec", True)
        assert session["sameSite"] == "Strict"


async def test_the_ui_on_another_origin_sends_credentials_when_told_to(stage: Stage) -> None:
    own = stage.server.ui_url or ""
    endpoint = f"http://127.0.0.1:{stage.port}/codec"
    async with chromium() as browser:
        # What TEMPORAL_CODEC_INCLUDE_CREDENTIALS does for all browsers, a person's own settings
        # in the UI do for one.
        choices = {"endpoint": f'"{endpoint}"', "includeCredentials": "true",
                   "overrideRemoteCodecConfiguration": "true"}  # fmt: skip
        chosen = "".join(f"localStorage.setItem('{k}', '{v}');" for k, v in choices.items())
        await browser.add_init_script(f"if (location.origin == '{own}') {{ {chosen} }}")
        page = await browser.new_page()
        await assert_encrypted(stage, page, f"{own}{stage.page}")
        await page.goto(stage.sign_in(f"http://127.0.0.1:{stage.port}"))
        await page.wait_for_url(f"{stage.ui}/**")
        await page.goto(f"{own}{stage.page}")
        await expect(page.get_by_text(CANARY).first).to_be_visible(timeout=30_000)


@pytest.mark.parametrize("token", [TOKEN, "wrong", None])
async def test_the_cli_reads_with_the_token(stage: Stage, token: str | None) -> None:
    command = [str(stage.server.binary), "workflow", "show", "--workflow-id", "run", "--output",
               "json", "--address", stage.server.address, "--disable-config-file",
               "--disable-config-env", "--command-timeout", "10s",
               "--codec-endpoint", f"http://127.0.0.1:{stage.port}/codec"]  # fmt: skip
    if token:
        command += ["--codec-auth", f"Bearer {token}"]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, timeout=60
    )
    clear = base64.b64encode(to_json({"word": CANARY})).decode()
    assert (clear in done.stdout) == (token == TOKEN), done.stderr
    assert (done.returncode == 0) == (token == TOKEN)


async def test_the_front_passes_on_and_keeps_its_own(stage: Stage) -> None:
    upstream = stage.server.ui_port or 0
    own = {"content-type", "content-encoding", "cache-control", "location", "vary"}
    async with ClientSession(auto_decompress=False) as client:
        for path in ("/", "/api/v1/settings", "/api/v1/namespaces/x%2Fy", "/_app/../x", "/nothing"):
            for coding in ("gzip", "identity"):
                seen = []
                for port in (stage.front.port, upstream):
                    url = URL(f"http://127.0.0.1:{port}{path}", encoded=True)
                    headers = {"Accept-Encoding": coding}
                    async with client.get(url, headers=headers, allow_redirects=False) as answer:
                        kept = {k: v for k, v in answer.headers.items() if k.lower() in own}
                        body = await answer.read()
                        # Each compression stamps the time.
                        seen.append((answer.status, kept, len(body) if coding == "gzip" else body))
                assert seen[0] == seen[1], path
    async with connected(stage.front.port) as front:
        assert (await front.ask("/codec/decode", "POST")).status == 401
        await asyncio.to_thread(stage.server.stop)
        assert (await front.ask("/")).status == 502
