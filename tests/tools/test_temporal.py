"""The Temporal CLI is found in the promised order, and its development server runs."""

import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from tools.temporal import DevServer
from tools.temporal.binary import MODULE_DIR, BinaryVersion, cached_binary, pinned, probe
from tools.temporal.build import PACKAGE, find_go
from tools.temporal.programs import PROGRAMS
from tools.temporal.resolve import resolve

RECENT = "temporal version 1.8.2 (Server 1.32.0, UI 2.54.1)"
OLD = "temporal version 1.1.0 (Server 1.25.1, UI 2.31.2)"
# Where no machine listens, so that the SDK's download ends at once wherever the tests run.
NOWHERE = "http://127.0.0.1:9"


def write_program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def fake_cli(path: Path, line: str = RECENT) -> Path:
    return write_program(path, f"echo '{line}'")


@dataclass
class Sandbox:
    """An environment with a PATH and a cache of its own, in which to resolve."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def cached(self) -> Path:
        return self.root / "cache" / cached_binary().relative_to(cached_binary().parents[3])

    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": str(self.root),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "HTTPS_PROXY": NOWHERE,
            "TEMPORAL_CLI_DOWNLOAD_SECONDS": "20",
            **self.variables,
        }

    def resolve(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tools.temporal"],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


def add_fake_go(sandbox: Sandbox) -> Path:
    """Put a `go` on PATH which counts its runs and "builds" a fake CLI after a moment."""
    runs = sandbox.root / "go-runs"
    write_program(
        sandbox.bin / "go",
        f"echo \"$@\" >> '{runs}'\n"
        "sleep 0.5\n"
        'while [ "$1" != -o ]; do shift; done\n'
        f'printf \'#!/bin/sh\\necho "{RECENT}"\\n\' > "$2"; chmod +x "$2"',
    )
    return runs


def test_the_variable_comes_first(sandbox: Sandbox) -> None:
    chosen = fake_cli(sandbox.root / "mine" / "temporal", OLD)
    fake_cli(sandbox.bin / "temporal")
    sandbox.variables["TEMPORAL_CLI"] = str(chosen)
    done = sandbox.resolve()
    assert (done.returncode, done.stdout) == (0, f"{chosen}\n")
    assert "older" in done.stderr


@pytest.mark.parametrize(
    ("script", "complaint"), [(None, "is not a file"), ("exit 1", "does not answer --version")]
)
def test_a_wrong_variable_is_an_error(sandbox: Sandbox, script: str | None, complaint: str) -> None:
    fake_cli(sandbox.bin / "temporal")
    wrong = sandbox.root / "wrong"
    if script is not None:
        write_program(wrong, script)
    sandbox.variables["TEMPORAL_CLI"] = str(wrong)
    done = sandbox.resolve()
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"TEMPORAL_CLI={wrong} {complaint}" in done.stderr


def test_path_comes_before_the_cache(sandbox: Sandbox) -> None:
    on_path = fake_cli(sandbox.bin / "temporal")
    fake_cli(sandbox.cached)
    assert sandbox.resolve().stdout == f"{on_path}\n"


def test_an_old_one_on_path_is_passed_over(sandbox: Sandbox) -> None:
    fake_cli(sandbox.bin / "temporal", OLD)
    fake_cli(sandbox.cached)
    done = sandbox.resolve()
    assert done.stdout == f"{sandbox.cached}\n"
    assert "its server is 1.25, 1.31 is needed" in done.stderr


def test_go_builds_what_cannot_be_downloaded(sandbox: Sandbox) -> None:
    runs = add_fake_go(sandbox)
    done = sandbox.resolve()
    assert done.stdout == f"{sandbox.cached}\n", done.stderr
    assert "no download:" in done.stderr
    assert "-mod=readonly" in runs.read_text()
    assert sandbox.resolve().stdout == f"{sandbox.cached}\n"
    assert len(runs.read_text().splitlines()) == 1
    assert {path.name for path in sandbox.cached.parent.iterdir()} == {"temporal", ".lock"}


def test_a_broken_one_in_the_cache_is_replaced(sandbox: Sandbox) -> None:
    add_fake_go(sandbox)
    write_program(sandbox.cached, "exit 1")
    assert sandbox.resolve().stdout == f"{sandbox.cached}\n"
    assert probe(sandbox.cached) is not None


def test_processes_that_start_together_build_once(sandbox: Sandbox) -> None:
    runs = add_fake_go(sandbox)
    outputs: list[str] = []
    threads = [
        threading.Thread(target=lambda: outputs.append(sandbox.resolve().stdout)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == [f"{sandbox.cached}\n"] * 3
    assert len(runs.read_text().splitlines()) == 1


def test_a_failed_build_says_why(sandbox: Sandbox) -> None:
    write_program(sandbox.bin / "go", "echo 'missing go.sum entry' >&2; exit 1")
    done = sandbox.resolve()
    assert done.returncode == 1
    assert "go build failed: missing go.sum entry" in done.stderr
    assert not sandbox.cached.exists()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (RECENT, BinaryVersion("1.8.2", (1, 32), RECENT)),
        (OLD, BinaryVersion("1.1.0", (1, 25), OLD)),
        ("something else 1.2.3", None),
    ],
)
def test_the_version_line_is_read(
    tmp_path: Path, line: str, expected: BinaryVersion | None
) -> None:
    assert probe(fake_cli(tmp_path / "temporal", line)) == expected


def test_a_program_that_cannot_run_has_no_version(tmp_path: Path) -> None:
    (tmp_path / "temporal").write_text("not a program")
    assert probe(tmp_path / "temporal") is None


def test_the_module_pins_what_we_build() -> None:
    assert pinned("go.temporal.io/server") == "1.32.0"
    with pytest.raises(LookupError):
        pinned("example.com/absent")


async def start_one(server: DevServer) -> str:
    client = await Client.connect(server.address)
    account = SearchAttributeKey.for_keyword("EmailAccount")
    handle = await client.start_workflow(
        "NobodyRunsThis",
        id=f"dev-server-test-{os.urandom(4).hex()}",
        task_queue="nobody",
        search_attributes=TypedSearchAttributes([SearchAttributePair(account, "a1")]),
    )
    described = await handle.describe()
    return str(described.typed_search_attributes[account])


async def test_the_session_server_answers_a_client(temporal_server: DevServer) -> None:
    assert await start_one(temporal_server) == "a1"
    assert temporal_server.ui_url is None


async def test_the_server_keeps_its_state_over_restart_and_crash(
    server_directory: Path,
) -> None:
    with DevServer(
        server_directory / "temporal-ui",
        binary=resolve(),
        ui=True,
        search_attributes={"EmailAccount": "Keyword"},
        namespaces=["second"],
    ) as server:
        assert server.ui_url is not None
        client = await Client.connect(server.address, namespace="second")
        handle = await client.start_workflow("Kept", id="kept", task_queue="nobody")
        server.restart()
        assert (await client.get_workflow_handle("kept").describe()).run_id == handle.result_run_id
        server.kill()
        server.start()
        assert (await client.get_workflow_handle("kept").describe()).run_id == handle.result_run_id
        assert await start_one(server) == "a1"


@pytest.mark.parametrize("package", [PACKAGE, *(program.package for program in PROGRAMS)])
def test_the_module_holds_all_that_a_build_needs(package: str) -> None:
    go = find_go()
    assert go
    done = subprocess.run(
        [go, "list", "-mod=readonly", "-deps", package],
        cwd=MODULE_DIR,
        env={**os.environ, "GOWORK": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert package in done.stdout.splitlines()


def test_programs_are_those_that_the_module_pins() -> None:
    for program in PROGRAMS:
        done = subprocess.run(
            [program.find(), "--version"], capture_output=True, text=True, check=False
        )
        assert pinned(program.module) in done.stdout
