"""docker-compose.yml and Dockerfile keep the project's rules."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from models.settings import SECRETS_DIR, Settings
from starter.cli.main import run
from tests.deploy.files import (
    COMPOSE,
    ROOT,
    compose,
    copied,
    dockerfile,
    final_stage,
    services,
    yaml,
)
from tools.compose_secrets import DATABASE_URL, NEW, make

PREFIX = "EMAIL_CONNECTOR_"
OURS = "email-connector:"
# Images whose own Dockerfile ends in USER temporal.
NOT_ROOT = ("temporalio/server:", "temporalio/admin-tools:", "temporalio/ui:")
PINNED = re.compile(r"[a-z/-]+:\d+\.\d+(\.\d+)?(-[a-z0-9.-]+)?")
ENDING = ("setup", "temporal-schema")
"""Services that end by themselves."""

every_service = pytest.mark.parametrize("name", services())


def known_variables() -> set[str]:
    return {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {SECRETS_DIR}


def test_the_schema_of_compose_files() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(COMPOSE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@every_service
class TestEachService:
    def test_its_image_is_pinned_and_documented(self, name: str) -> None:
        image = services()[name]["image"]
        assert PINNED.fullmatch(image), image
        if not image.startswith(OURS):
            assert f"`{image}`" in (ROOT / "docs" / "how-to" / "deploy.md").read_text()

    def test_it_is_not_root_and_cannot_become_it(self, name: str) -> None:
        service = services()[name]
        assert service["image"].startswith((OURS, *NOT_ROOT)) or service["user"] != "root"
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service.get("privileged")
        if service["image"].startswith(OURS):
            assert service["read_only"]

    def test_it_is_watched_or_ends(self, name: str) -> None:
        service = services()[name]
        if name in ENDING:
            assert service["restart"].startswith("on-failure")
        else:
            assert service["restart"] == "unless-stopped"
            assert service["healthcheck"]["test"][0] == "CMD"
            assert service["deploy"]["resources"]["limits"]["memory"]

    def test_its_ports_are_for_this_machine_only(self, name: str) -> None:
        for port in services()[name].get("ports", []):
            assert port.startswith("127.0.0.1:"), port

    def test_it_waits_for_what_it_needs(self, name: str) -> None:
        for other, how in services()[name].get("depends_on", {}).items():
            expected = "service_completed_successfully" if other in ENDING else "service_healthy"
            assert how == {"condition": expected}, other

    def test_its_variables_are_settings(self, name: str) -> None:
        given = services()[name].get("environment", {})
        assert {v for v in given if v.startswith(PREFIX)} <= known_variables()
        assert all(isinstance(value, str) for value in given.values())

    def test_no_secret_is_a_variable(self, name: str) -> None:
        for variable, value in services()[name].get("environment", {}).items():
            secret = re.search("PASSWORD|PWD|TOKEN|KEY", variable)
            assert not secret or variable.endswith("_FILE"), variable
            assert "@" not in value

    def test_its_secrets_and_volumes_are_declared(self, name: str) -> None:
        service = services()[name]
        assert set(service.get("secrets", [])) <= set(compose()["secrets"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source
                assert volume.endswith(":ro")
            else:
                assert source in compose()["volumes"]

    def test_its_command_is_one_of_ours(
        self, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        service = services()[name]
        if not service["image"].startswith(OURS):
            scripts = [part for part in service.get("entrypoint", []) if part.endswith(".sh")]
            scripts += [p for p in service.get("command", []) if p.startswith("/deploy/")]
            for script in scripts:
                assert (ROOT / script.removeprefix("/")).is_file(), script
            return
        command = service["command"]
        assert command[0] == "python"
        if command[1:3] == ["-m", "starter"]:
            assert run([*command[3:], "--help"]) == 0
            assert "Usage" in capsys.readouterr().out
        elif command[1] == "-m":
            assert f"{command[2].replace('.', '/')}.py" in copied()
        else:
            assert command[1] in copied()


def test_the_namespace_and_addresses_are_one() -> None:
    ui = services()["temporal-ui"]["environment"]
    worker = services()["worker"]["environment"]
    endpoints = services()["endpoints"]["environment"]
    assert worker.items() >= services()["setup"]["environment"].items()
    assert ui["TEMPORAL_ADDRESS"] == worker["EMAIL_CONNECTOR_TEMPORAL_ADDRESS"]
    assert ui["TEMPORAL_DEFAULT_NAMESPACE"] == worker["EMAIL_CONNECTOR_TEMPORAL_NAMESPACE"]
    ui_url = worker["EMAIL_CONNECTOR_TEMPORAL_UI_URL"]
    assert json.loads(endpoints["EMAIL_CONNECTOR_CODEC_ORIGINS"]) == [ui_url]
    assert ui["TEMPORAL_CORS_ORIGINS"] == ui_url
    public = endpoints["EMAIL_CONNECTOR_PUBLIC_URL"]
    assert ui["TEMPORAL_CODEC_ENDPOINT"] == f"{public}/codec"
    port = endpoints["EMAIL_CONNECTOR_HTTP_PORT"]
    assert services()["endpoints"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert public == f"http://127.0.0.1:{port}"


def test_server_and_tools_are_of_the_version_that_is_tested() -> None:
    module = (ROOT / "tools" / "temporal" / "go.mod").read_text()
    images = [service["image"] for service in services().values()]
    server = re.search(r"go\.temporal\.io/server v(\S+)", module)
    ui = re.search(r"temporalio/ui-server/v2 v(\S+)", module)
    assert server
    assert ui
    assert f"temporalio/server:{server[1]}" in images
    assert f"temporalio/admin-tools:{server[1]}" in images
    assert f"temporalio/ui:{ui[1]}" in images


def test_fairness_is_on() -> None:
    place = services()["temporal"]["environment"]["DYNAMIC_CONFIG_FILE_PATH"]
    settings = yaml(ROOT / place.removeprefix("/"))
    assert settings["matching.enableFairness"] == [{"value": True}]


class TestImage:
    def test_stages_are_pinned_alike(self) -> None:
        bases = [rest.split()[0] for word, rest in dockerfile() if word == "FROM"]
        assert len(bases) == 2
        assert len(set(bases)) == 1
        assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-[a-z]+", bases[0])
        assert f"`{bases[0]}`" in (ROOT / "docs" / "how-to" / "deploy.md").read_text()

    def test_libraries_are_those_of_the_lock(self) -> None:
        installs = [rest for word, rest in dockerfile() if word == "RUN" and "pip" in rest]
        assert len(installs) == 1
        assert "--require-hashes -r /requirements-image.lock" in installs[0]
        assert "--only-binary=:all:" in installs[0]

    def test_the_last_stage_builds_nothing(self) -> None:
        for word, rest in final_stage():
            assert word != "ADD"
            assert word != "RUN" or not re.search(r"\b(apt|apt-get|pip|gcc|make|curl)\b", rest)

    def test_it_runs_as_nobody_special(self) -> None:
        users = [rest for word, rest in final_stage() if word == "USER"]
        assert users == ["10001:10001"]

    def test_it_is_watched(self) -> None:
        assert [word for word, _ in final_stage()].count("HEALTHCHECK") == 1

    def test_its_variables_are_settings(self) -> None:
        text = " ".join(rest for word, rest in final_stage() if word == "ENV")
        assert set(re.findall(rf"({PREFIX}\w+)=", text)) <= known_variables()

    def test_it_holds_what_runs_and_nothing_else(self) -> None:
        files = copied()
        assert {"worker.py", "starter/__main__.py", "tools/servers/process.py"} <= set(files)
        assert "activities/store/migrations/versions/0001_first_schema.py" in files
        assert {Path(file).parts[0] for file in files} == {
            "activities", "models", "starter", "tools", "workflows", "worker.py",
        }  # fmt: skip
        for file in files:
            assert "__pycache__" not in file
            assert not file.startswith(("tools/servers/install", "tools/temporal/go."))


def locked(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    pins = [line.split(" ")[0] for line in lines if "==" in line and line[0].isalnum()]
    return dict(pin.split("==") for pin in pins)


def test_the_image_has_the_versions_that_are_tested() -> None:
    image, everything = locked("requirements-image.lock"), locked("requirements.lock")
    assert image.items() <= everything.items()
    assert not {"pytest", "moto", "playwright", "mypy"} & image.keys()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = [*project["project"]["dependencies"], *project["dependency-groups"]["demo"]]
    assert {re.match(r"[a-z0-9-]+", need)[0] for need in needed} <= image.keys()  # type: ignore[index]


class TestSecrets:
    def test_all_that_compose_reads_are_made(self, tmp_path: Path) -> None:
        made = make(tmp_path / "secrets")
        assert sorted(made) == sorted([*NEW, DATABASE_URL])
        declared = {Path(s["file"]).name for s in compose()["secrets"].values()}
        assert declared == set(made)
        assert all(Path(s["file"]).parent == Path("secrets") for s in compose()["secrets"].values())

    def test_they_are_for_their_owner_and_stay(self, tmp_path: Path) -> None:
        folder = tmp_path / "secrets"
        make(folder)
        before = {file.name: file.read_text() for file in folder.iterdir()}
        assert make(folder) == []
        assert {file.name: file.read_text() for file in folder.iterdir()} == before
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert len(set(before.values())) == len(before)

    def test_they_are_settings(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make(tmp_path)
        monkeypatch.setenv(SECRETS_DIR, str(tmp_path))
        for name in Settings.model_fields:
            monkeypatch.delenv(f"{PREFIX}{name.upper()}", raising=False)
        settings = Settings()
        assert settings.sqlalchemy_url() == (tmp_path / DATABASE_URL).read_text()
        assert settings.encryption_keys
        assert settings.payload_keys
        for name in services()["worker"]["secrets"]:
            assert name.upper() in known_variables(), name

    def test_git_and_docker_leave_them_alone(self) -> None:
        done = subprocess.run(
            ["git", "check-ignore", "--quiet", "secrets/x"], cwd=ROOT, check=False
        )
        assert done.returncode == 0
        assert not any(file.startswith("secrets") for file in copied())
