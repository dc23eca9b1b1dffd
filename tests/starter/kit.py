"""Calls the command line the way a person or a program does."""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from models.settings import Settings
from starter.cli.main import run
from tests.stores import Stores, store_environment
from tools.temporal.resolve import resolve

_ADD = (
    "account add --name Sales --email sales@firm.example --full-name Sales-Team --password-stdin "
    "--smtp-host smtp.firm.example --imap-host imap.firm.example"
)
ADD = tuple(_ADD.split(" "))


@dataclass(frozen=True)
class Answer:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


class Cli:
    """Runs commands on a store of their own."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        settings: Settings,
    ) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.settings = settings
        self.data_dir = settings.data_dir
        for name, value in store_environment(settings).items():
            monkeypatch.setenv(name, value)

    def __call__(self, *arguments: str, stdin: str = "") -> Answer:
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = run(arguments)
        out, err = self._capsys.readouterr()
        return Answer(code, out, err)


def clean_environment(home: Path, stores: Stores) -> dict[str, str]:
    """Variables for a process that must not see the user's own settings or data."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("EMAIL_CONNECTOR_", "TEMPORAL_"))
    }
    return kept | {
        "HOME": str(home),
        **store_environment(Settings(data_dir=home / "data", **stores.fresh())),
        "TEMPORAL_CLI": str(resolve()),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }
