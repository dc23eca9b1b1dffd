"""`up` as a process: it starts everything, works, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.starter.kit import clean_environment
from tests.stores import Stores

PARTS = ["endpoints", "mailserver", "temporal", "worker"]


class Up:
    """A running `up --json`."""

    def __init__(self, home: Path, stores: Stores) -> None:
        self.environment = clean_environment(home, stores)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "starter", "up", "--json"],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line)
            if line == "}\n":
                break
        self.facts: dict[str, Any] = json.loads("".join(lines))
        assert "pids" in self.facts, self.facts  # else it says why it did not start

    def run(self, *arguments: str, stdin: str = "") -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "starter", *arguments, "--json"],
            env=self.environment | self.facts["environment"],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        return json.loads(done.stdout)

    def decoded(self, payloads: dict[str, Any]) -> Any:
        """What the codec server answers to the token that `up` made."""
        token = Path(self.facts["data_dir"], "codec-token").read_text()
        request = Request(  # noqa: S310 - our own server
            f"{self.facts['codec_endpoint']}/decode",
            json.dumps(payloads).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urlopen(request, timeout=20) as answer:  # noqa: S310
            return json.loads(answer.read())

    def end(self) -> int:
        return self.process.wait(timeout=60)


@pytest.fixture
def up(tmp_path: Path, stores: Stores) -> Iterator[Up]:
    """Everything, running."""
    running = Up(tmp_path, stores)
    yield running
    if running.process.poll() is None:
        running.process.send_signal(signal.SIGTERM)
        running.end()
    assert running.process.stdout
    running.process.stdout.close()


def fetched(url: str) -> bytes:
    with urlopen(url, timeout=20) as answer:  # noqa: S310 - our own server
        data: bytes = answer.read()
        return data


def alive(pids: dict[str, int]) -> list[str]:
    return [name for name, pid in pids.items() if Path(f"/proc/{pid}").exists()]


def test_mail_is_sent_and_retrieved_and_all_parts_stop(up: Up, tmp_path: Path) -> None:
    mail = up.facts["mail"]
    servers = [
        *("--smtp-host", mail["host"], "--smtp-port", str(mail["smtp_port"])),
        *("--imap-host", mail["host"], "--imap-port", str(mail["imap_port"])),
        *("--smtp-security", "none", "--imap-security", "none", "--password-stdin"),
        *("--sent-folder", "Sent"),
    ]
    who = ["--name", "Me", "--email", "me@demo.example"]
    up.run("account", "add", *who, *servers, stdin=mail["password"])
    assert up.run("account", "check", "Me")["ok"]
    folders = up.run("account", "folders", "Me")["folders"]
    assert [folder["name"] for folder in folders] == ["INBOX", "Archive", "Sent"]

    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(400_000))
    letter = ["--to", "me@demo.example", "--subject", "One", "--text", "Hello"]
    sent = up.run("send", "--account", "Me", *letter, "--attach", str(large))
    assert (sent["status"], sent["sent_copy"]) == ("sent", "filed")
    assert up.run("result", sent["workflow_id"]) == sent
    outside = up.run("send", "--account", "Me", "--to", "x@elsewhere.example", "--text", "x")
    assert outside["status"] == "failed"

    moving = ["--handling", "move", "--move-folder", "Archive"]
    retrieved = up.run("retrieve", "--account", "Me", *moving)
    assert (retrieved["retrieved"], retrieved["handled"]) == (1, 1)
    missing = up.run("retrieve", "--account", "Me", "--folder", "Nowhere")
    assert missing["error"]["type"] == "FolderNotFound"

    (received,) = [m for m in up.run("message", "list") if m["direction"] == "incoming"]
    copy = tmp_path / "copy.bin"
    up.run("message", "export", received["id"], "--part", "0", "-o", str(copy))
    assert copy.read_bytes() == large.read_bytes()

    links = up.run("message", "links", received["id"])
    assert fetched(links["text"]["url"]) == b"Hello"
    assert fetched(links["part 0: large.bin"]["url"]) == large.read_bytes()
    decoded = up.decoded({"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}}]})
    assert decoded["payloads"][0]["metadata"]["encoding"] == "anNvbi9wbGFpbg=="
    assert fetched(up.facts["sign_in"]).startswith(b"<!doctype html>")
    ui = up.facts["temporal_ui"]
    shown = json.loads(fetched(f"{ui}/api/v1/settings"))
    assert shown["Codec"]["Endpoint"] == f"{ui}/codec"

    assert sorted(alive(up.facts["pids"])) == PARTS
    up.process.send_signal(signal.SIGTERM)
    assert up.end() == 0
    assert alive(up.facts["pids"]) == []


def test_a_part_that_dies_ends_it_all(up: Up) -> None:
    second = up.run("up")
    assert second["error"]["field"] == "EMAIL_CONNECTOR_DATA_DIR"
    os.kill(up.facts["pids"]["worker"], signal.SIGKILL)
    assert up.end() == 1
    deadline = time.monotonic() + 10
    while alive(up.facts["pids"]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert alive(up.facts["pids"]) == []
