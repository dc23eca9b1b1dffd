"""Fixtures of the starter's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.settings import Settings
from tests.starter.kit import Cli
from tests.stores import Stores


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    stores: Stores,
) -> Cli:
    """The command line on a new store."""
    for name in ("EMAIL_CONNECTOR_DATABASE_URL", "EMAIL_CONNECTOR_BLOB_URL"):
        monkeypatch.delenv(name, raising=False)
    return Cli(monkeypatch, capsys, Settings(data_dir=tmp_path / "data", **stores.fresh()))
