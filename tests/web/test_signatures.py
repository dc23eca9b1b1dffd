"""The signature, and the lines that the documents give a receiver to check it with."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from activities.crypto.webhook_signature import secret_for, signed_headers

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "docs/how-to/webhooks.md"]
_MARKED = re.compile(r"<!-- verify -->(.*?)<!-- /verify -->", re.S)
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.S | re.M)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"id": "1", "name": "Zo\xc3\xab"}'

_PYTHON = """
import base64 as _b, json, sys
given = json.load(sys.stdin)
globals().update(given)
body = _b.b64decode(body)
{lines}
print(json.dumps(bool(genuine)))
"""
_JAVASCRIPT = """
const given = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
let { id, timestamp, signature, secret } = given;
const body = Buffer.from(given.body, "base64");
{lines}
console.log(JSON.stringify(genuine));
"""

Check = Callable[..., bool]


def snippets(page: Path) -> dict[str, str]:
    (marked,) = _MARKED.findall(page.read_text())
    return dict(_FENCE.findall(marked))


@pytest.fixture(params=["python", "javascript"])
def check(request: pytest.FixtureRequest) -> Check:
    """Run the lines of the README as a receiver would."""
    lines = snippets(PAGES[0])[request.param]
    if request.param == "python":
        command = [sys.executable, "-c", _PYTHON.replace("{lines}", lines)]
    else:
        command = ["node", "-e", _JAVASCRIPT.replace("{lines}", lines)]

    def run(headers: dict[str, str], body: bytes, secret: str) -> bool:
        given = {
            "id": headers["webhook-id"],
            "timestamp": headers["webhook-timestamp"],
            "signature": headers["webhook-signature"],
            "secret": secret,
            "body": base64.b64encode(body).decode(),
        }
        done = subprocess.run(
            command,
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        genuine: bool = json.loads(done.stdout)
        return genuine

    return run


def now() -> int:
    return int(time.time())


def test_the_pages_show_the_same_three_lines() -> None:
    shown = [snippets(page) for page in PAGES]
    assert shown[0] == shown[1]
    assert set(shown[0]) == {"python", "javascript"}
    for lines in shown[0].values():
        _, _, three = lines.partition("\n\n")  # after what is imported
        assert len(three.splitlines()) == 3


def test_the_vector_of_the_standard() -> None:
    # From the standard's own libraries.
    headers = signed_headers(
        [SECRET], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_what_is_genuine_passes(check: Check) -> None:
    assert check(signed_headers([SECRET], "1", now(), BODY), BODY, SECRET)


def test_during_a_rotation_both_secrets_pass(check: Check) -> None:
    other = secret_for(b"key", "https://a.example:443")
    headers = signed_headers([other, SECRET], "1", now(), BODY)
    assert check(headers, BODY, SECRET)
    assert check(headers, BODY, other)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "2"},
        {"webhook-timestamp": str(now() + 1)},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "ü" * 47},
        {"webhook-signature": "v1a,ü v2,x"},
    ],
)
def test_what_was_changed_does_not(check: Check, change: dict[str, str]) -> None:
    headers = signed_headers([SECRET], "1", now() - 5, BODY)
    assert not check(headers | change, BODY, SECRET)


def test_nor_another_body_another_secret_or_an_old_request(check: Check) -> None:
    headers = signed_headers([SECRET], "1", now(), BODY)
    assert not check(headers, BODY + b" ", SECRET)
    assert not check(headers, BODY, secret_for(b"key", "https://a.example:443"))
    for late in (-400, 400):
        assert not check(signed_headers([SECRET], "1", now() + late, BODY), BODY, SECRET)


def test_each_origin_and_each_key_has_a_secret_of_its_own() -> None:
    secrets = {
        secret_for(key, origin)
        for key in (b"a", b"b")
        for origin in ("https://a.example:443", "https://a.example:444", "https://b.example:443")
    }
    assert len(secrets) == 6
    assert all(len(base64.b64decode(s.removeprefix("whsec_"))) == 32 for s in secrets)
