"""Headless Chromium that can reach nothing but this machine, and what it asked for."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import BrowserContext, async_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
# No packet may leave, not even to look a name up, when what is tested is broken.
_ARGUMENTS = [
    "--no-sandbox",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--disable-background-networking",
]


@asynccontextmanager
async def chromium() -> AsyncIterator[BrowserContext]:
    """A fresh browser while the block runs."""
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    assert path, "chromium is missing: python -m tools.servers install"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        try:
            yield await browser.new_context(viewport={"width": 1280, "height": 800})
        finally:
            await browser.close()


def requests_of(context: BrowserContext) -> list[str]:
    """A list that grows with the URL of each request, also of those that fail."""
    seen: list[str] = []
    context.on("request", lambda request: seen.append(request.url))
    return seen
