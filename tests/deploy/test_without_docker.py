"""The parts of docker-compose.yml without Docker: the main job on a real cluster.

Temporal's server from its Go module on PostgreSQL, with its schema tool and its UI, our worker from
the files of the image, the endpoints and the trial mail server; each with the settings and the
command of its service, the image's files and the secrets that `tools.compose_secrets` makes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import sync_playwright
from psycopg.conninfo import make_conninfo

from starter.embedded.callback_worker import QUEUE, READY, WORKFLOW
from tests.deploy.files import unpack_image
from tests.deploy.parts import Machine, Part, create_databases
from tests.e2e.harness import fresh
from tools.compose_secrets import make
from tools.servers.postgres import Postgres
from tools.temporal.binary import MODULE_DIR
from tools.temporal.build import find_go
from tools.temporal.programs import SERVER, SQL_TOOL, UI_SERVER

# Building the server from nothing counts as well, where `make test` has not built it before.
pytestmark = [pytest.mark.timeout(1200), pytest.mark.xdist_group("deployment")]

# Only the superuser of a new cluster needs no password.
_ACCESS = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


@pytest.fixture(scope="module")
def machine(server_directory: Path) -> Iterator[Machine]:
    """Everything but the parts that stay: files, programs, secrets, databases."""
    folder = server_directory / "deployment"
    access = folder / "pg_hba.conf"
    folder.mkdir()
    access.write_text(_ACCESS)
    with Postgres(folder / "postgres", settings={"hba_file": str(access)}) as database:
        machine = Machine(folder, unpack_image(folder / "app"), database)
        machine.bin.mkdir()
        for program in (SERVER, SQL_TOOL, UI_SERVER):
            (machine.bin / program.name).symlink_to(program.find())
        make(machine.secrets, f"{database.host}:{database.port}")
        create_databases(machine)
        yield machine


@pytest.fixture(scope="module")
def deployment(machine: Machine) -> Iterator[dict[str, Part]]:
    """The parts that stay, started in the order of docker-compose.yml."""
    parts: dict[str, Part] = {}
    with ExitStack() as running:

        def start(service: str, **how: Any) -> None:
            parts[service] = running.enter_context(Part(machine, service, **how))

        for _ in range(2):  # harmless to repeat
            machine.run("temporal-schema")
        # What the image's own script ends in, once it has found the container's address.
        server = [*machine.command("temporal")[:-1], SERVER.name, "start"]
        start("temporal", command=server, port=machine.temporal)
        wait_for(lambda: "created" in machine.run("setup"), "the namespace", AssertionError)
        ui = [UI_SERVER.name, "--root", ui_root(), "--env", "docker", "start"]
        start("temporal-ui", command=ui, port=machine.ui)
        start("worker")
        start("endpoints")
        start("mail")
        yield parts


def ui_root() -> str:
    """The folder whose configuration the UI's image holds."""
    go = find_go()
    assert go
    command = [go, "mod", "download", "-json", "github.com/temporalio/ui-server/v2"]
    done = subprocess.run(command, cwd=MODULE_DIR, capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)["Dir"])


def wait_for(
    found: Callable[[], Any], what: str, *errors: type[BaseException], seconds: float = 60
) -> Any:
    """Return what ``found`` finds as soon as it does."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if result := found():
                return result
        except errors:
            if time.monotonic() > deadline:
                raise
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: nothing after {seconds:g} s")
        time.sleep(0.2)


@dataclass(frozen=True)
class Account:
    """An account on the trial mail server, and what it does."""

    machine: Machine
    name: str
    id: str
    address: str

    def send(self, to: str = "", code: int = 0) -> dict[str, Any]:
        """Send a mail, to itself unless ``to`` says otherwise."""
        return self._do("send", "--to", to or self.address, "--text", "Hello!", code=code)

    def retrieve(self, *options: str) -> dict[str, Any]:
        """Retrieve a folder."""
        return self._do("retrieve", *options)

    def _do(self, command: str, *options: str, code: int = 0) -> dict[str, Any]:
        text = self.machine.cli(command, "--account", self.name, *options, "--json", code=code)
        done: dict[str, Any] = json.loads(text)
        return done


@pytest.fixture
def account(machine: Machine, deployment: dict[str, Part]) -> Account:
    """An account that nobody else has."""
    name = fresh("account")
    address = f"{name}@demo.example"
    added = machine.cli(
        *f"account add --name {name} --email {address} --password-stdin --json".split(),
        *f"--smtp-host 127.0.0.1 --smtp-port {machine.smtp} --smtp-security none".split(),
        *f"--imap-host 127.0.0.1 --imap-port {machine.imap} --imap-security none".split(),
        stdin=(machine.secrets / "mail_password").read_text(),
    )
    return Account(machine, name, json.loads(added)["id"], address)


def runs(machine: Machine, *options: str) -> dict[str, Any]:
    listed: dict[str, Any] = json.loads(machine.cli("runs", "list", *options, "--json"))
    return listed


def test_the_main_job(machine: Machine, deployment: dict[str, Part], account: Account) -> None:
    """Send, replicate, hand over to a callback, move on the server; then find the runs again."""
    consumer = machine.here("temporal:7233")
    callbacks = Part(
        machine,
        "callbacks",
        command=[sys.executable, "-m", "starter.embedded.callback_worker", "--address", consumer],
        says=READY,
    )
    with callbacks:
        sent = [account.send() for _ in range(3)]
        assert [each["status"] for each in sent] == ["sent"] * 3
        refused = account.send("me@elsewhere.example", code=1)
        assert refused["status"] == "failed"
        take = ("--on-email-fetch", f"{WORKFLOW}@{QUEUE}:plain")
        retrieved = account.retrieve("--handling", "move", "--move-folder", "Archive", *take)
    assert (retrieved["retrieved"], retrieved["handled"]) == (3, 3)
    archived = account.retrieve("--folder", "Archive")
    assert archived["known"] == 3

    def ids(*options: str, number: int) -> set[str]:
        found = wait_for(
            lambda: (r := runs(machine, *options)["runs"]) and len(r) >= number and r, str(options)
        )
        return {run["workflow_id"] for run in found}

    outgoing = ("--account", account.name, "--direction", "outgoing")
    done = {each["workflow_id"] for each in sent}
    assert ids(*outgoing, "--status", "sent", number=3) == done
    assert ids(*outgoing, "--status", "failed", number=1) == {refused["workflow_id"]}
    incoming = ids("--account", account.id, "--direction", "incoming", number=2)
    assert retrieved["workflow_id"] in incoming
    assert not incoming & done
    assert runs(machine, "--account", "00000000-0000-4000-8000-000000000000")["runs"] == []
    assert all(part.running for part in deployment.values())


def test_the_ui_filters_by_the_same_query(
    machine: Machine, deployment: dict[str, Part], account: Account
) -> None:
    good, bad = account.send(), account.send("x@elsewhere.example", code=1)
    options = ("--account", account.id, "--status", "failed")
    listed = wait_for(
        lambda: (found := runs(machine, *options)) and bad["workflow_id"] in str(found) and found,
        "the failed run",
    )
    assert listed["url"].startswith(f"http://127.0.0.1:{machine.ui}/namespaces/default/workflows")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.goto(listed["url"])
        page.get_by_text(bad["workflow_id"]).first.wait_for(timeout=60_000)
        assert page.get_by_text(good["workflow_id"]).count() == 0
        (url,) = [r["url"] for r in listed["runs"] if r["workflow_id"] == bad["workflow_id"]]
        page.goto(url)
        page.get_by_text(bad["run_id"]).first.wait_for(timeout=60_000)
        browser.close()


def test_each_part_is_healthy_by_its_own_check(
    machine: Machine, deployment: dict[str, Part]
) -> None:
    checked = [
        part
        for name, part in deployment.items()
        # Programs of the container's own system ask the others.
        if name in ("worker", "endpoints", "mail")
    ]
    assert checked
    assert all(part.healthy() for part in checked)


def test_fairness_is_in_force(
    machine: Machine, deployment: dict[str, Part], account: Account
) -> None:
    config = machine.here("/deploy/temporal/dynamic-config.yaml")
    said = machine.call([SERVER.name, "validate-dynamic-config", config], machine.base())
    assert "error" not in said
    assert "warning" not in said
    account.send()
    # A server with fairness keeps its task queues in tables of their own.
    where = make_conninfo(host="127.0.0.1", port=machine.database.port, user="postgres")
    with psycopg.connect(where, dbname="temporal") as connection:
        (queues,) = connection.execute("SELECT count(*) FROM task_queues_v2").fetchone() or (0,)
    assert queues > 0


def test_set_up_can_be_repeated(machine: Machine, deployment: dict[str, Part]) -> None:
    assert "all search attributes were there" in machine.run("setup")


@pytest.mark.parametrize("database", ["temporal", "temporal_visibility", "email_connector"])
def test_a_database_wants_its_password(machine: Machine, database: str) -> None:
    role = database.removesuffix("_visibility")
    password = (machine.secrets / f"{role}_database_password").read_text()
    where = make_conninfo(host="127.0.0.1", port=machine.database.port, dbname=database, user=role)
    with psycopg.connect(where, password=password) as connection:
        owner = connection.execute(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", [database]
        ).fetchone()
    assert owner == (role,)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(where, password="wrong")


def test_no_secret_is_in_a_log(
    machine: Machine, deployment: dict[str, Part], account: Account
) -> None:
    account.send()
    secrets = [file.read_text() for file in machine.secrets.iterdir()]
    for part in deployment.values():
        log = part.log.read_text(errors="replace")
        assert not any(secret in log for secret in secrets), part.name


def test_the_image_needs_no_library_that_it_lacks(tmp_path: Path) -> None:
    app = unpack_image(tmp_path)
    script = Path(__file__).with_name("only_locked.py")
    lock = Path(__file__).parents[2] / "requirements-image.lock"
    done = subprocess.run(
        [sys.executable, str(script), str(app), str(lock)],
        cwd=app,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
