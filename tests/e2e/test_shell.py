"""The commands in the documentation are run as they stand, so that no page can rot."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from temporalio.client import Client

from models.names import WorkflowType
from models.tables import Message
from tests.e2e.conftest import MakeConnector, incoming, outgoing
from tests.e2e.harness import Connector, execute
from tests.e2e.mails import delivered, mail
from tests.e2e.processes import ROOT
from tests.stores import store_environment
from tools.servers.dovecot import Dovecot
from tools.servers.postfix import Postfix
from tools.temporal import DevServer

PAGE, README = ROOT / "docs/how-to/shell.md", ROOT / "README.md"
WITHOUT_ENCRYPTION = "## Without encryption"

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.S | re.M)
_FAILURE = re.compile(r"^(Status FAILED|InvalidInput:)", re.M)
_MARKED = re.compile(r"<!-- shell -->(.*?)<!-- /shell -->", re.S)


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    language: str
    text: str


def blocks(page: str) -> list[Block]:
    return [Block(*found) for found in _FENCE.findall(page)]


class Shell:
    """A shell as a reader of the documentation has it."""

    def __init__(self, connector: Connector, server: DevServer, message_id: str) -> None:
        settings = connector.settings
        self._message_id = message_id
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("EMAIL_CONNECTOR_")},
            "TEMPORAL_ADDRESS": settings.temporal_address or "",
            "TEMPORAL_NAMESPACE": settings.temporal_namespace or "",
            **store_environment(settings),
            "EMAIL_CONNECTOR_PAYLOAD_ENCRYPTION": settings.payload_encryption,
            "PATH": f"{Path(sys.executable).parent}:{server.binary.parent}:{os.environ['PATH']}",
            "COLUMNS": "200",
        }

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-e", "-c", script.replace("MESSAGE_ID", self._message_id)],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def follow(self, page: str) -> str:
        """Run all commands of a page; what it says they print, they print. Returns all output."""
        together, last = "", ""
        found = blocks(page)
        for block, following in zip(found, [*found[1:], None], strict=True):
            if block.language == "sh":
                done = self.run(block.text)
                last = done.stdout + done.stderr
                together += last
                fails = following is not None and bool(_FAILURE.search(following.text))
                assert (done.returncode != 0) == fails, last
            elif block.language == "text":
                for line in block.text.splitlines():
                    assert words(line) in words(last)
        return together


def words(text: str) -> str:
    return " ".join(text.split())


def add_shop(connector: Connector, dovecot: Dovecot, postfix: Postfix) -> str:
    """Add the account of the documentation, with a mail in its inbox; returns its user."""
    user = "shop@demo.example"
    connector.add_account(
        name="shop",
        password=dovecot.password,
        email_address=user,
        outgoing=outgoing(postfix, username=user),
        incoming=incoming(dovecot, username=user),
    )
    dovecot.deliver(user, mail("For the shop"))
    return user


@pytest.fixture(scope="module")
def shop(make_connector: MakeConnector, dovecot: Dovecot, postfix: Postfix) -> Connector:
    connector = make_connector()
    add_shop(connector, dovecot, postfix)
    return connector


@pytest.fixture(scope="module")
def open_shop(make_connector: MakeConnector, dovecot: Dovecot, postfix: Postfix) -> Connector:
    """The same without encryption."""
    connector = make_connector(payload_encryption="off")
    add_shop(connector, dovecot, postfix)
    return connector


@pytest.fixture
async def shell(shop: Connector, temporal_server: DevServer) -> Shell:
    client: Client = await shop.client()
    await execute(client, WorkflowType.RETRIEVE_EMAIL_MESSAGES, {"account": "shop"})
    stored = shop.rows(Message, Message.direction == "incoming")[0]
    return Shell(shop, temporal_server, stored.id)


def documents(output: str) -> Iterator[dict[str, object]]:
    """The JSON objects in a text that holds others things as well."""
    decoder = json.JSONDecoder()
    for match in re.finditer(r"^\{$", output, re.M):
        yield decoder.raw_decode(output, match.start())[0]


class TestPage:
    def test_every_command_works_as_it_stands(
        self, shell: Shell, shop: Connector, dovecot: Dovecot
    ) -> None:
        page, _, _ = PAGE.read_text().partition(WITHOUT_ENCRYPTION)
        output = shell.follow(page)
        assert output.count("Status          COMPLETED") == 4
        assert "Your order" in output  # in the list of mails
        found = list(documents(output))
        sent = next(d for d in found if d.get("status") == "sent")
        assert isinstance(sent["recipients"], list)
        assert {r["kind"] for r in sent["recipients"]} == {"to", "bcc"}
        assert any("retrieval_id" in d for d in found)
        assert any(d.get("subject") == "For the shop" for d in found)
        assert delivered(dovecot, "archive@demo.example")

    def test_without_encryption(self, open_shop: Connector, temporal_server: DevServer) -> None:
        _, _, page = PAGE.read_text().partition(WITHOUT_ENCRYPTION)
        assert page
        output = Shell(open_shop, temporal_server, "").follow(page)
        assert re.search(r'"retrieved":[1-9]', output)

    def test_there_are_commands_for_the_three_workflows(self) -> None:
        page = PAGE.read_text()
        for kind in ("SendEmail", "RetrieveEmailMessages", "GetEmailMessage"):
            assert f"--type {kind} " in page
        for link in re.findall(r"\]\(([^)#]+)", page):
            assert (PAGE.parent / link).exists(), link


class TestReadme:
    def test_its_commands_work_as_they_stand(self, shell: Shell) -> None:
        (marked,) = _MARKED.findall(README.read_text())
        (block,) = blocks(marked)
        done = shell.run(block.text)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("Status          COMPLETED") == 3
        (result,) = documents(done.stdout)
        assert result["status"] == "sent"

    def test_it_shows_what_the_page_shows(self) -> None:
        """The same commands, but for the recipients."""
        (marked,) = _MARKED.findall(README.read_text())
        shown = {command(b.text) for b in blocks(PAGE.read_text()) if b.language == "sh"}
        assert {"SendEmail", "RetrieveEmailMessages", "GetEmailMessage"} <= shown
        (block,) = blocks(marked)
        for kind in re.findall(r"--type (\w+)", block.text):
            assert kind in shown


def command(text: str) -> str:
    found = re.search(r"--type (\w+)", text)
    return found[1] if found else ""
