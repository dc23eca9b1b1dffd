"""The account commands, their errors, and what they never show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from activities.store.assembly import open_store
from models.account import AccountSettings
from starter.cli.account_flags import FLAGS
from tests.starter.kit import ADD, Cli
from tests.stores import database_bytes

SECRET = "corr3ct-h0rse"
OTHER = "b4ttery-st4ple"


def passwords(cli: Cli, name: str = "Sales") -> tuple[str, str]:
    """Both stored passwords of an account."""
    store = open_store(cli.settings)
    try:
        with store.database.read() as session:
            sides = (store.accounts.outgoing, store.accounts.incoming)
            found = [side(session, name)[1].password for side in sides]
    finally:
        store.close()
    assert found[0]
    assert found[1]
    return found[0].get_secret_value(), found[1].get_secret_value()


def test_an_account_is_added_listed_shown_edited_and_deleted(cli: Cli) -> None:
    added = cli(*ADD, stdin=SECRET)
    assert (added.code, "Sales" in added.out) == (0, True)

    (listed,) = cli("account", "list", "--json").json
    assert listed["outgoing"]["port"] == 587
    assert listed["incoming"]["port"] == 993
    assert listed["incoming"]["username"] == "sales@firm.example"
    assert "imap.firm.example:993" in cli("account", "list").out

    edited = cli("account", "edit", "Sales", "--smtp-port", "2525", "--imap-no-sanitize", "--json")
    assert edited.json == {
        **listed,
        "outgoing": {**listed["outgoing"], "port": 2525},
        "retrieval": {**listed["retrieval"], "sanitize": False},
    }
    assert cli("account", "show", listed["id"], "--json").json == edited.json

    deleted = cli("account", "delete", "Sales", "--yes", "--json")
    assert deleted.json["deleted"]["id"] == listed["id"]
    assert cli("account", "list", "--json").json == []


def test_a_usual_port_goes_along_with_the_protocol(cli: Cli) -> None:
    cli(*ADD, stdin=SECRET)

    def edited(*flags: str) -> tuple[str, str, int]:
        server = cli("account", "edit", "Sales", *flags, "--json").json["incoming"]
        return server["protocol"], server["security"], server["port"]

    assert edited("--imap-protocol", "pop3s") == ("pop3s", "tls", 995)
    assert edited("--imap-protocol", "pop3", "--imap-security", "starttls")[2] == 110
    assert edited("--full-name", "Somebody")[2] == 110
    assert edited("--imap-security", "tls", "--imap-port", "1995")[2] == 1995
    assert edited("--imap-protocol", "imaps")[2] == 1995  # nobody's usual port stays
    assert edited("--imap-port", "993")[2] == 993


def test_an_account_that_moves_does_not_become_one_of_pop3(cli: Cli) -> None:
    cli(*ADD, "--imap-handling", "move", "--imap-move-folder", "Done", stdin=SECRET)
    refused = cli("account", "edit", "Sales", "--imap-protocol", "pop3s", "--json")
    assert (refused.code, refused.json["error"]["type"]) == (1, "InvalidInput")
    assert refused.json["error"]["field"] == "retrieval.handling"
    (kept,) = cli("account", "list", "--json").json
    assert kept["incoming"]["protocol"] == "imaps"


def leaves(model: type[BaseModel], prefix: str = "") -> set[str]:
    """Dotted paths of all fields."""
    paths: set[str] = set()
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        inner = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        paths |= leaves(inner, f"{prefix}{name}.") if inner else {prefix + name}
    return paths


def test_every_setting_has_a_flag() -> None:
    assert {flag.path for flag in FLAGS} == leaves(AccountSettings)


def test_every_flag_arrives(cli: Cli) -> None:
    flags = {
        "--name": "All",
        "--email": "all@firm.example",
        "--full-name": "All of us",
        "--max-send-attempts": "3",
        "--max-connections": "4",
        "--give-up-after": "600",
        "--unknown-policy": "at_most_once",
        "--provider": "gmail",
        "--sent-copy": "always",
        "--sent-folder": "Gesendet",
        "--imap-protocol": "imap",
        "--imap-folder": "In",
        "--imap-number": "7",
        "--imap-strategy": "oldest",
        "--imap-batch-size": "9",
        "--imap-handling": "move",
        "--imap-move-folder": "Done",
    }
    for side in ("smtp", "imap"):
        flags |= {
            f"--{side}-host": f"{side}.firm.example",
            f"--{side}-port": "2000",
            f"--{side}-security": "none",
            f"--{side}-login": "basic",
            f"--{side}-username": side,
            f"--{side}-timeout-ms": "4000",
        }
    switches = [
        "--smtp-no-identity-check",
        "--imap-no-identity-check",
        "--imap-everything",
        "--imap-render-inline-images",
        "--imap-no-sanitize",
        "--imap-subscribe",
    ]
    given = [part for pair in flags.items() for part in pair]
    made = cli("account", "add", *given, *switches, "--password-stdin", "--json", stdin=SECRET).json
    server = {
        "port": 2000,
        "security": "none",
        "login": "basic",
        "check_server_identity": False,
        "connection_timeout_ms": 4000,
    }
    assert {k: v for k, v in made.items() if k not in ("id", "created_at")} == {
        "name": "All",
        "email_address": "all@firm.example",
        "full_name": "All of us",
        "outgoing": {"host": "smtp.firm.example", "username": "smtp", **server},
        "incoming": {
            "host": "imap.firm.example",
            "username": "imap",
            "protocol": "imap",
            **server,
        },
        "retrieval": {
            "folder": "In",
            "number_of_emails": 7,
            "fetch_strategy": "oldest",
            "replicate_everything": True,
            "batch_size": 9,
            "handling": "move",
            "move_folder": "Done",
            "render_inline_images": True,
            "sanitize": False,
            "subscribe": True,
        },
        "unknown_policy": "at_most_once",
        "provider": "gmail",
        "sent_copy": "always",
        "sent_folder": "Gesendet",
        "max_send_attempts": 3,
        "max_connections": 4,
        "give_up_after_seconds": 600,
    }


def test_one_line_is_the_password_of_both_sides_and_two_are_one_each(cli: Cli) -> None:
    cli(*ADD, stdin=f"{SECRET}\n")
    assert passwords(cli) == (SECRET, SECRET)
    cli("account", "edit", "Sales", "--password-stdin", stdin=f"{SECRET}\n{OTHER}\n")
    assert passwords(cli) == (SECRET, OTHER)


def test_an_edit_keeps_the_passwords(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli(*ADD, stdin=SECRET)
    monkeypatch.setenv("EMAIL_CONNECTOR_OUTGOING_PASSWORD", OTHER)
    cli("account", "edit", "Sales", "--full-name", "X")
    assert passwords(cli) == (SECRET, SECRET)
    monkeypatch.setenv("EMAIL_CONNECTOR_INCOMING_PASSWORD", OTHER)
    cli("account", "edit", "Sales", "--new-password")
    assert passwords(cli) == (OTHER, OTHER)


def test_passwords_come_from_the_environment_or_are_asked_for(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMAIL_CONNECTOR_OUTGOING_PASSWORD", SECRET)
    without = [part for part in ADD if part != "--password-stdin"]
    refused = cli(*without, "--json")
    assert refused.json["error"]["field"] == "password"
    assert refused.code == 1

    asked: list[dict[str, Any]] = []

    def prompt(text: str, **options: Any) -> str:
        asked.append({"text": text, **options})
        return OTHER

    monkeypatch.setattr(typer, "prompt", prompt)
    monkeypatch.setattr("starter.cli.passwords._interactive", lambda: True)
    assert cli(*without).code == 0
    assert passwords(cli) == (SECRET, OTHER)
    assert [question["hide_input"] for question in asked] == [True]


def test_no_output_and_no_file_shows_a_password(cli: Cli) -> None:
    answers = [
        cli(*ADD, stdin=SECRET),
        cli(*ADD, "--json", stdin=SECRET),  # the name is taken
        cli("account", "list", "--json"),
        cli("account", "show", "Sales"),
        cli("account", "show", "Sales", "--json"),
        cli("account", "edit", "Sales", "--password-stdin", "--json", stdin=SECRET),
        cli("account", "delete", "Sales", "--yes"),
    ]
    assert not [a for a in answers if SECRET in a.out + a.err]
    files = [path for path in cli.data_dir.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert SECRET.encode() not in database_bytes(cli.settings)


@pytest.mark.parametrize("option", ["--password", "--smtp-password", "--imap-password"])
def test_a_password_is_no_argument(cli: Cli, option: str) -> None:
    answer = cli("account", "add", "--name", "X", option, SECRET, "--json")
    assert (answer.code, answer.json["error"]["type"]) == (2, "UsageError")
    assert SECRET not in answer.out + answer.err


def test_settings_are_read_from_a_file_or_standard_input(cli: Cli, tmp_path: Path) -> None:
    settings = {
        "name": "File",
        "email_address": "file@firm.example",
        "outgoing": {"host": "relay.firm.example", "login": "none"},
    }
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(settings))
    assert cli("account", "add", "--settings", str(path)).code == 0
    settings["name"] = "Stdin"
    made = cli("account", "add", "--settings", "-", "--json", stdin=json.dumps(settings))
    assert made.json["name"] == "Stdin"
    both = cli("account", "add", "--settings", "-", "--name", "X", "--json")
    assert (both.code, both.json["error"]["type"]) == (2, "UsageError")


def test_a_secret_in_the_settings_is_refused_and_not_repeated(cli: Cli) -> None:
    settings = {
        "name": "X",
        "email_address": "x@firm.example",
        "outgoing": {"host": "h", "login": "none", "password": SECRET},
    }
    answer = cli("account", "add", "--settings", "-", "--json", stdin=json.dumps(settings))
    assert answer.json["error"]["field"] == "outgoing.password"
    assert SECRET not in answer.out + answer.err


@pytest.mark.parametrize(
    ("arguments", "code", "type", "field"),
    [
        ("account show Nobody", 1, "AccountNotFound", "account"),
        ("account show", 2, "UsageError", None),
        ("account frobnicate", 2, "UsageError", None),
        ("account add --name X --email no-address --smtp-host h", 1, "InvalidInput", None),
        ("account add --name X --email x@firm.example --smtp-port 0", 1, "InvalidInput", None),
        ("account add --name X --smtp-security sometimes", 2, "UsageError", None),
        ("account add --settings /nowhere/at/all.json", 1, "FileError", None),
        ("message show 42", 1, "MessageNotFound", "message_id"),
        ("message export 42 --text --html", 2, "UsageError", None),
        ("send --account A --to nobody --text x", 1, "InvalidInput", "message.to"),
        ("send --account A --to a@firm.example", 1, "InvalidInput", "message.content"),
        ("send --account A --to a@firm.example --attach /no/file --text x", 2, "UsageError", None),
        ("retrieve --account A --on-email-fetch nonsense", 2, "UsageError", None),
        ("retrieve --account A", 1, "AccountNotFound", "account"),
    ],
)
def test_an_error_is_one_json_document(
    cli: Cli, arguments: str, code: int, type: str, field: str | None
) -> None:
    answer = cli(*arguments.split(), "--json")
    error = answer.json["error"]
    assert (answer.code, error["type"]) == (code, type)
    assert set(error) == {"type", "message", "field"}
    assert field is None or error["field"] == field
    assert not answer.err


def test_an_error_for_a_person_is_one_line_on_standard_error(cli: Cli) -> None:
    answer = cli("account", "show", "Nobody")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.count("\n") == 1
    assert "account list" in answer.err


def test_a_wrong_value_is_not_repeated(cli: Cli) -> None:
    answer = cli("account", "add", "--name", "X", "--email", f"{SECRET} at home", "--json")
    assert answer.code == 1
    assert SECRET not in answer.out + answer.err


def test_a_wrong_setting_in_the_environment_is_named(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMAIL_CONNECTOR_SMTP_CONCURRENCY", "many")
    error = cli("account", "list", "--json").json["error"]
    assert error["field"] == "EMAIL_CONNECTOR_SMTP_CONCURRENCY"


def test_deleting_without_yes_is_refused_and_says_what_would_go(cli: Cli) -> None:
    cli(*ADD, stdin=SECRET)
    answer = cli("account", "delete", "Sales")
    assert answer.code == 1
    assert "stored mail" in answer.err
    assert "servers is not touched" in answer.err
    assert len(cli("account", "list", "--json").json) == 1


@pytest.mark.parametrize("command", ["check", "folders"])
def test_a_temporal_that_is_not_there_is_named(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("EMAIL_CONNECTOR_TEMPORAL_ADDRESS", "127.0.0.1:9")
    answer = cli("account", command, "Sales", "--json")
    assert answer.code == 1
    assert answer.json["error"]["type"] == "ConnectionFailed"
    assert "127.0.0.1:9" in answer.json["error"]["message"]


def test_the_help_needs_no_store(cli: Cli) -> None:
    for command in (["--help"], ["account", "add", "--help"], ["send", "--help"]):
        assert cli(*command).code == 0
    assert not cli.data_dir.exists()
