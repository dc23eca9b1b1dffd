"""The codec server: everything for the right credential, nothing for any other."""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from google.protobuf.json_format import MessageToDict, ParseDict
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload, Payloads

from models.settings import Settings
from models.wire import AesGcmCodec
from starter.endpoints.access import CodecAccess
from starter.endpoints.server import serving
from tests.endpoints.kit import TOKEN, Answer, connected, opened, settings

UI = "http://127.0.0.1:8233"
BEARER = f"Bearer {TOKEN}"
JSON = "application/json"
OLD, NEW = os.urandom(32), os.urandom(32)
CLEAR = Payload(metadata={"encoding": b"json/plain"}, data=b'"a canary"')


@dataclass
class Codec:
    """A running codec server."""

    port: int
    settings: Settings

    async def ask(self, path: str, payloads: list[Payload] | bytes = b"", **headers: str) -> Answer:
        body = payloads if isinstance(payloads, bytes) else as_json(payloads)
        return await self.request("POST", path, body, **headers)

    async def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        async with connected(self.port) as connection:
            named = {"content_type": JSON, **headers}
            return await connection.request(f"/codec/{path}", method, body, named)

    async def sign_in(self, credential: str) -> Answer:
        body = urlencode({"credential": credential}).encode()
        return await self.ask("login", body, content_type="application/x-www-form-urlencoded")


def keys(*pairs: tuple[str, bytes]) -> SecretStr:
    return SecretStr(",".join(f"{name}:{base64.b64encode(key).decode()}" for name, key in pairs))


@pytest_asyncio.fixture
async def codec(tmp_path: Path) -> AsyncIterator[Codec]:
    described = settings(tmp_path, payload_keys=keys(("new", NEW), ("old", OLD)))
    with opened(described) as store:
        async with serving(described, store) as port:
            yield Codec(port, described)


def as_json(payloads: list[Payload]) -> bytes:
    return json.dumps(MessageToDict(Payloads(payloads=payloads))).encode()


def payloads_of(answer: Answer) -> list[Payload]:
    assert answer.headers["content-type"].startswith(JSON)
    return list(ParseDict(json.loads(answer.body), Payloads()).payloads)


def cookie_of(answer: Answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


async def sealed(key_id: str, key: bytes) -> list[Payload]:
    return await AesGcmCodec({key_id: key}).encode([CLEAR])


async def test_what_is_encoded_is_decoded(codec: Codec) -> None:
    answer = await codec.ask("encode", [CLEAR, CLEAR], authorization=BEARER)
    assert answer.status == 200
    encrypted = payloads_of(answer)
    assert [p.metadata["encryption-key-id"] for p in encrypted] == [b"new", b"new"]
    assert b"canary" not in answer.body
    answer = await codec.ask("decode?preserveStorageRefs=true", encrypted, authorization=BEARER)
    assert payloads_of(answer) == [CLEAR, CLEAR]
    assert "access-control-allow-origin" not in answer.headers


async def test_old_keys_are_readable_and_unknown_ones_are_left_alone(codec: Codec) -> None:
    known, unknown = await sealed("old", OLD), await sealed("x", os.urandom(32))
    answer = await codec.ask("decode", [*known, *unknown, CLEAR], authorization=BEARER)
    assert payloads_of(answer) == [CLEAR, *unknown, CLEAR]


@pytest.mark.parametrize("path", ["encode", "decode"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"authorization": "Bearer \xff\xfe"},
        {"cookie": f"email_connector_codec={TOKEN}", "origin": UI},
        {"cookie": "email_connector_codec=", "origin": UI},
        {"cookie": f"email_connector_codec=9999999999.{'a' * 16}.{'0' * 64}", "origin": UI},
        {"origin": UI},
    ],
)
async def test_without_the_right_credential_there_is_nothing(
    codec: Codec, path: str, headers: dict[str, str]
) -> None:
    answer = await codec.ask(path, await sealed("new", NEW), **headers)
    assert (answer.status, answer.body) == (401, b"")
    broken = await codec.ask(path, b"{", **headers)
    assert (broken.status, broken.body) == (401, b"")


async def test_a_browser_signs_in_with_the_token(codec: Codec) -> None:
    page = await codec.request("GET", "login")
    assert page.status == 200
    policy = page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy
    entered = await codec.sign_in(f" {TOKEN} ")
    assert (entered.status, entered.headers["location"]) == (303, f"{UI}/")
    cookie = entered.headers["set-cookie"]
    for attribute in ("HttpOnly", "SameSite=Strict", "Max-Age=43200"):
        assert attribute in cookie
    assert "path=" not in cookie.lower()  # the browser takes the page's folder
    assert TOKEN not in cookie
    answer = await codec.ask(
        "decode", await sealed("new", NEW), cookie=cookie_of(entered), origin=UI
    )
    assert payloads_of(answer) == [CLEAR]
    assert answer.headers["access-control-allow-origin"] == UI
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["vary"] == "Origin"


async def test_an_invitation_works_once(codec: Codec) -> None:
    invitation = CodecAccess(SecretStr(TOKEN)).invitation()
    assert (await codec.sign_in(invitation)).status == 303
    again = await codec.sign_in(invitation)
    assert again.status == 401
    assert "set-cookie" not in again.headers
    other = CodecAccess(SecretStr("another token, as long as it must be")).invitation()
    for wrong in (other, "wrong", "", invitation[:-1], CodecAccess(SecretStr(TOKEN)).session()):
        answer = await codec.sign_in(wrong)
        assert answer.status == 401
        assert "set-cookie" not in answer.headers


async def test_other_sites_cannot_use_a_browsers_session(codec: Codec) -> None:
    cookie = cookie_of(await codec.sign_in(TOKEN))
    body = await sealed("new", NEW)
    origins = ["https://evil.example", "null", "http://127.0.0.1:8234", "http://127.0.0.1:8233.evil",
               "HTTP://127.0.0.1:8233", ""]  # fmt: skip
    for origin in origins:
        answer = await codec.ask("decode", body, cookie=cookie, origin=origin)
        assert (answer.status, answer.body) == (401, b"")
        assert "access-control-allow-origin" not in answer.headers
    assert (await codec.ask("decode", body, cookie=cookie)).status == 401
    for kind in ("text/plain", "application/x-www-form-urlencoded"):  # what needs no preflight
        answer = await codec.ask("decode", body, cookie=cookie, origin=UI, content_type=kind)
        assert answer.status == 400


async def test_preflight(codec: Codec) -> None:
    answer = await codec.request("OPTIONS", "decode", b"", origin=UI)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == UI
    assert answer.headers["access-control-allow-credentials"] == "true"
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"x-namespace", "authorization", "content-type"} <= set(allowed)
    others: list[dict[str, str]] = [{}, {"origin": "https://evil.example"}, {"origin": "null"}]
    for headers in others:
        answer = await codec.request("OPTIONS", "decode", b"", **headers)
        assert answer.status == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_sessions_and_invitations_end(monkeypatch: pytest.MonkeyPatch) -> None:
    access = CodecAccess(SecretStr(TOKEN))
    session, invitation = access.session(), access.invitation()
    assert access.is_session(session)
    assert not access.is_session(invitation)
    assert not CodecAccess(SecretStr("another" * 6)).is_session(session)
    later = time.time() + 25 * 3600
    monkeypatch.setattr("time.time", lambda: later)
    assert not access.is_session(session)
    assert not access.admits(invitation)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"\xff", b'{"payloads": 1}', b'{"payloads":' * 2000, b"[" * 200_000],
)
async def test_what_is_no_payload(
    codec: Codec, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for path in ("encode", "decode"):
        answer = await codec.ask(path, body, authorization=BEARER)
        assert answer.status == 400
        assert json.loads(answer.body)["error"]["type"] == "PayloadUnreadable"
        assert "unexpected" not in caplog.text


async def test_sizes(codec: Codec) -> None:
    large = Payload(metadata={"encoding": b"json/plain"}, data=b"x" * 4 * 1024 * 1024)
    answer = await codec.ask("encode", [large], authorization=BEARER)
    assert answer.status == 200
    larger = Payload(data=b"x" * 5 * 1024 * 1024)
    answer = await codec.ask("encode", [larger], authorization=BEARER)
    assert answer.status == 413
    assert json.loads(answer.body)["error"]["type"] == "MessageTooLarge"


async def test_logs_hold_no_payload_and_no_credential(
    codec: Codec, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await codec.ask("encode", [CLEAR], authorization=BEARER)
    await codec.ask("encode", b'{"payloads": "a canary"', authorization=BEARER)
    cookie = cookie_of(await codec.sign_in(TOKEN))
    assert "POST encode 200" in caplog.text
    for secret in ("canary", TOKEN, cookie):
        assert secret not in caplog.text


async def test_other_routes_and_methods(codec: Codec) -> None:
    for path in ("", "keys", "decode/", "../codec/decode"):
        assert (await codec.ask(path, [CLEAR], authorization=BEARER)).status == 404
    assert (await codec.request("GET", "decode", authorization=BEARER)).status == 405


async def test_with_encryption_off_old_payloads_are_readable(tmp_path: Path) -> None:
    values: dict[str, Any] = {"payload_keys": keys(("old", OLD)), "payload_encryption": "off"}
    described = settings(tmp_path, **values)
    with opened(described) as store:
        async with serving(described, store) as port:
            codec = Codec(port, described)
            answer = await codec.ask("decode", await sealed("old", OLD), authorization=BEARER)
            assert payloads_of(answer) == [CLEAR]
            answer = await codec.ask("encode", [CLEAR], authorization=BEARER)
            assert payloads_of(answer) == [CLEAR]
