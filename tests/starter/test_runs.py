"""Which runs are asked for: a query in which no value can be more than a value."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from models.errors import ConnectorError
from models.names import Direction, RunStatus
from starter.run_filter import RunFilter
from starter.ui_links import list_url, run_url
from tests.starter.kit import Cli


def test_conditions_are_joined() -> None:
    wanted = RunFilter("a-1", RunStatus.FAILED, Direction.OUTGOING)
    assert wanted.query() == (
        'EmailAccount = "a-1" AND EmailStatus = "failed" AND EmailDirection = "outgoing"'
    )
    assert RunFilter().query() == "EmailDirection IS NOT NULL"


@pytest.mark.parametrize(
    "value", ["x' OR 1=1", 'x" OR EmailStatus != "', "x\\", "x y", "x\n", "é", "x\x00", "(x)"]
)
def test_no_value_gets_out_of_its_quotes(value: str) -> None:
    with pytest.raises(ConnectorError, match="not the id"):
        RunFilter(value).query()


def test_links_are_escaped() -> None:
    url = run_url("http://127.0.0.1:8233/", "send/a b?#", "r-1", "n/s")
    assert url == "http://127.0.0.1:8233/namespaces/n%2Fs/workflows/send%2Fa%20b%3F%23/r-1/history"
    query = RunFilter("a-1").query()
    assert parse_qs(urlsplit(list_url("http://ui", query)).query) == {"query": [query]}


def test_wrong_values_are_refused_before_anything_is_asked(cli: Cli) -> None:
    assert cli("runs", "list", "--status", "burning").code == 2
    answer = cli("runs", "list", "--account", "x' OR", "--json")
    assert (answer.code, answer.json["error"]["field"]) == (1, "account")


def test_a_server_that_is_away_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMAIL_CONNECTOR_TEMPORAL_ADDRESS", "127.0.0.1:9")
    for command in (("runs", "list"), ("temporal", "setup")):
        answer = cli(*command, "--json")
        assert answer.json["error"]["type"] == "ConnectionFailed"
        assert "127.0.0.1:9" in answer.json["error"]["message"]
