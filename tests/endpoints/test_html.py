"""A hostile mail's html, opened in Chromium from its link, loads nothing and runs nothing."""

from __future__ import annotations

import hashlib
from email.message import EmailMessage
from pathlib import Path

from aiohttp import ClientSession
from playwright.async_api import Route

from activities.store import messages
from starter.endpoints.server import serving
from tests.endpoints.browser import chromium, requests_of
from tests.endpoints.kit import PNG, add_account, opened, receive, settings, target_of

TRACKER = "http://127.0.0.1:1/tracker"
HTML = f"""<!doctype html><html><head><base href="{TRACKER}/">
<meta http-equiv="refresh" content="0;url={TRACKER}/refresh">
<link rel="stylesheet" href="{TRACKER}/css"><link rel="prefetch" href="{TRACKER}/prefetch">
<style>@import url({TRACKER}/import); body {{ background: url({TRACKER}/style) }}</style>
<script src="{TRACKER}/script"></script><script>fetch("{TRACKER}/fetch")</script></head>
<body background="{TRACKER}/body" onload="fetch('{TRACKER}/onload')"
 style="background:url({TRACKER}/inline)">
<p id="shown" style="color: rgb(1, 2, 3)">Seen by a person</p>
<img src="{TRACKER}/img"><img srcset="{TRACKER}/srcset 1x" src=x onerror="fetch('{TRACKER}/e')">
<img alt="own" src="cid:dot@example"><img src="//127.0.0.1:1/tracker/relative"><img src="/healthz">
<iframe src="{TRACKER}/iframe"></iframe><iframe srcdoc="<img src={TRACKER}/srcdoc>"></iframe>
<object data="{TRACKER}/object"></object><embed src="{TRACKER}/embed">
<video poster="{TRACKER}/poster" src="{TRACKER}/video" autoplay></video>
<audio src="{TRACKER}/audio" autoplay></audio><svg><image href="{TRACKER}/svg"/>
<script>fetch("{TRACKER}/svgscript")</script></svg>
<form action="{TRACKER}/form"><input type="image" src="{TRACKER}/input"><button>x</button></form>
<table background="{TRACKER}/table"><tr><td style="list-style:url({TRACKER}/list)">x</table>
<a id="link" href="http://127.0.0.1:1/clicked" ping="{TRACKER}/ping">a link</a>
<a href="javascript:fetch('{TRACKER}/js')">x</a>
</body></html>"""


def hostile() -> bytes:
    mail = EmailMessage()
    mail["Subject"] = "Hostile"
    mail.set_content("text")
    mail.add_alternative(HTML, subtype="html")
    html = mail.get_body(("html",))
    assert isinstance(html, EmailMessage)
    html.add_related(PNG, "image", "png", cid="<dot@example>")
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{TRACKER}/part"/></svg>'
    mail.add_attachment(svg.encode(), "image", "svg+xml", filename="x.svg")
    mail.add_attachment(HTML, subtype="html", filename="x.html")
    return mail.as_bytes()


async def test_html_loads_nothing_from_the_network(tmp_path: Path) -> None:
    described = settings(tmp_path)
    with opened(described) as store:
        mail = receive(store, add_account(store), hostile())
        async with serving(described, store) as port, chromium() as browser:
            seen = requests_of(browser)
            page = await browser.new_page()
            link = f"http://127.0.0.1:{port}{target_of(store.links.sign(f'{mail}.html')[0])}"
            answer = await page.goto(link, wait_until="networkidle")
            assert answer is not None
            assert answer.status == 200
            # The picture that came with the mail is shown, out of the page itself.
            own = page.get_by_alt_text("own")
            assert await own.evaluate("image => image.complete && image.naturalWidth") == 1
            assert await page.locator("#shown, p").first.inner_text() == "Seen by a person"
            colour = "element => getComputedStyle(element).color"
            assert await page.locator("p").first.evaluate(colour) == "rgb(1, 2, 3)"
            assert seen == [link]


async def test_pictures_from_the_web_are_loaded_only_when_asked_for(tmp_path: Path) -> None:
    described = settings(tmp_path)
    picture = "http://127.0.0.1:1/tracker/picture.png"
    mail = EmailMessage()
    mail.set_content("text")
    html = f'<p>x</p><img alt="remote" src="{picture}"><script src="{TRACKER}/script"></script>'
    mail.add_alternative(html, subtype="html")
    with opened(described) as store:
        message = receive(store, add_account(store), mail.as_bytes())
        async with serving(described, store) as port, chromium() as browser:
            page = await browser.new_page()
            reached: list[str] = []
            page.on("response", lambda response: reached.append(response.url))
            headers: list[dict[str, str]] = []

            async def answer(route: Route) -> None:
                headers.append(route.request.headers)
                await route.fulfill(body=PNG, content_type="image/png")

            await page.route(f"{TRACKER}/**", answer)
            for key, loaded in (
                (f"{message}.html", []),
                (messages.pictured_key(message), [picture]),
            ):
                reached.clear()
                link = f"http://127.0.0.1:{port}{target_of(store.links.sign(key)[0])}"
                await page.goto(link, wait_until="networkidle")
                assert [url for url in reached if url != link] == loaded
            shown = page.get_by_alt_text("remote")
            assert await shown.evaluate("image => image.complete && image.naturalWidth") == 1
            assert all("referer" not in sent for sent in headers), "it would give the link away"


async def test_html_as_it_came_is_kept_but_never_served(tmp_path: Path) -> None:
    described = settings(tmp_path)
    with opened(described) as store:
        mail = receive(store, add_account(store), hostile(), sanitize=False)
        with store.database.read() as session:
            kept = store.content.read(session, f"{mail}.html_source")[1]
        assert b"<script>" in kept
        async with serving(described, store) as port, ClientSession() as session:
            for kind, status in (("html_source", 404), ("html", 200)):
                target = target_of(store.links.sign(f"{mail}.{kind}")[0])
                async with session.get(f"http://127.0.0.1:{port}{target}") as answer:
                    assert answer.status == status
                    assert b"<script" not in await answer.read()


async def test_the_policy_alone_would_keep_a_page_still(tmp_path: Path) -> None:
    """What the sanitiser might let through one day still loads and runs nothing."""
    described = settings(tmp_path)
    with opened(described) as store:
        mail = receive(store, add_account(store), hostile())
        with store.database.write() as session:
            session.connection().exec_driver_sql(
                "UPDATE content SET data = ?, size = ?, sha256 = ? WHERE key = ?",
                (HTML.encode(), len(HTML.encode()), _sha256(HTML.encode()), f"{mail}.html"),
            )
        async with serving(described, store) as port, chromium() as browser:
            page = await browser.new_page()
            reached: list[str] = []
            page.on("response", lambda response: reached.append(response.url))
            ran: list[str] = []
            page.on("console", lambda message: ran.append(message.text))
            link = f"http://127.0.0.1:{port}{target_of(store.links.sign(f'{mail}.html')[0])}"
            await page.route(f"{TRACKER}/**", lambda route: route.fulfill(body="reached"))
            await page.goto(link, wait_until="commit")
            await page.wait_for_load_state("load")
            blocked = [text for text in ran if "violates" in text or "sandboxed" in text]
            assert len(blocked) >= 5
            loaded = {url.removeprefix(f"{TRACKER}/") for url in reached if url != link}
            # A page may always send its own window elsewhere; it takes nothing along.
            assert loaded <= {"refresh"}


async def test_hostile_parts_are_saved_not_shown(tmp_path: Path) -> None:
    described = settings(tmp_path)
    with opened(described) as store:
        mail = receive(store, add_account(store), hostile())
        with store.database.read() as session:
            parts = messages.get(session, mail).parts
        async with serving(described, store) as port, chromium() as browser:
            seen = requests_of(browser)
            saved = []
            for part in parts:
                if part.media_type == "image/png":
                    continue
                page = await browser.new_page()
                target = target_of(store.links.sign(messages.part_key(part))[0])
                async with page.expect_download() as download:
                    await page.evaluate(f"location.href = 'http://127.0.0.1:{port}{target}'")
                saved.append((await download.value).suggested_filename)
                await page.close()
            assert sorted(saved) == ["x.html", "x.svg"]
            assert not [url for url in seen if TRACKER in url]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
