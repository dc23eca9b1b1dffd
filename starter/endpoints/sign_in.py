"""`/codec/login`: a page that turns the token, or an invitation, into a browser's session.

An invitation travels in the link's fragment, which browsers send to nobody; the page takes it out
of the address and posts it.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Final

from aiohttp import web

from starter.endpoints.access import SESSION_SECONDS, CodecAccess
from starter.endpoints.answers import KIND
from starter.endpoints.codec import COOKIE

_SCRIPT: Final = """
const given = location.hash.slice(1);
if (given) {
  history.replaceState(null, "", location.pathname);
  document.forms[0].credential.value = decodeURIComponent(given);
  document.forms[0].submit();
}
"""
_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 32em; margin: 4em auto; padding: 0 1em }
input { width: 100%; box-sizing: border-box; padding: .5em; margin: .5em 0 1em }
button { padding: .5em 1em }
.refused { color: #b00 }
"""
_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Read payloads in Temporal's UI</title>
<style>{style}</style>
<h1>Read payloads in Temporal's UI</h1>
<p class="refused">{refused}</p>
<form method="post"><label>Token of the codec server
<input type="password" name="credential" autocomplete="off" required autofocus></label>
<button>Sign in</button></form>
<p>This browser may then decrypt payloads for twelve hours.</p>
<script>{script}</script>
"""


def _hashed(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


class SignIn:
    """The page, and what it posts.

    Args:
        access: Checks the credential, makes the session.
        ui: Origin of Temporal's UI, where a signed-in browser goes on to.
        secure: Whether browsers reach this by https only.
    """

    def __init__(self, access: CodecAccess, *, ui: str, secure: bool) -> None:
        self._access = access
        self._ui = ui
        self._secure = secure

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/codec/login", self.show)
        app.router.add_post("/codec/login", self.enter)

    async def show(self, request: web.Request) -> web.Response:
        """Show the page."""
        request[KIND] = "login"
        return self._page()

    async def enter(self, request: web.Request) -> web.Response:
        """Start a session for a right credential."""
        request[KIND] = "login"
        credential = (await request.post()).get("credential")
        if not isinstance(credential, str) or not self._access.admits(credential.strip()):
            return self._page(401, "This is not the token, or the link has been used or is old.")
        # Without a Path it is for this page's folder, whatever prefix a proxy has put before it.
        cookie = f"{COOKIE}={self._access.session()}; Max-Age={SESSION_SECONDS}; HttpOnly"
        cookie += "; SameSite=Strict" + ("; Secure" if self._secure else "")
        return web.Response(status=303, headers={"Location": f"{self._ui}/", "Set-Cookie": cookie})

    def _page(self, status: int = 200, refused: str = "") -> web.Response:
        text = _PAGE.format(style=_STYLE, script=_SCRIPT, refused=escape(refused))
        policy = (
            f"default-src 'none'; script-src {_hashed(_SCRIPT)}; style-src {_hashed(_STYLE)}; "
            # A form's target counts through redirects.
            f"form-action 'self' {self._ui}; base-uri 'none'; frame-ancestors 'none'"
        )
        return web.Response(
            status=status,
            text=text,
            content_type="text/html",
            headers={"Content-Security-Policy": policy},
        )
