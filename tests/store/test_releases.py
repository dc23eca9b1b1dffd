"""What every release left on disk is brought forward, on both databases, and nothing is lost.

Each folder is a data folder of that release, written by `python -m tools.releases VERSION` at its
tag: keys, large content, the database as SQL, and all that could be read out of it.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel

from activities.store.assembly import open_store
from activities.store.migrate import current, head
from models.settings import Settings
from tests.store.kit import KINDS, Databases, databases
from tools.releases.__main__ import FOLDER
from tools.releases.reading import everything
from tools.releases.sample import INLINE_BYTES

__all__ = ["databases"]

RELEASES = sorted(path.parent for path in FOLDER.glob("*/expected.json"))


def load(url: str, script: str) -> None:
    """Run a release's SQL in an empty database."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        connection.executescript(script)
        connection.close()
        return
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as server:
        server.execute(script.encode())


def missing(recorded: Any, found: Any, path: str = "") -> list[str]:
    """Where ``found`` lacks or changed something that was recorded; more of it is fine."""
    if isinstance(recorded, dict) and isinstance(found, dict):
        return [
            problem
            for key, value in recorded.items()
            for problem in (
                missing(value, found[key], f"{path}/{key}") if key in found else [f"{path}/{key}"]
            )
        ]
    if isinstance(recorded, list) and isinstance(found, list) and len(recorded) == len(found):
        pairs = enumerate(zip(recorded, found, strict=True))
        return [p for n, (a, b) in pairs for p in missing(a, b, f"{path}/{n}")]
    return [] if recorded == found else [path]


def test_the_first_release_is_recorded() -> None:
    assert "0.1.0" in [path.name for path in RELEASES]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_nothing_of_a_release_is_lost(
    databases: Databases, tmp_path: Path, release: Path, kind: str
) -> None:
    data = tmp_path / "data"
    shutil.copytree(release, data)
    url = databases.url(kind)
    load(url, (release / f"{kind}.sql").read_text())
    expected = json.loads((release / "expected.json").read_text())
    with databases.opened(url) as database, database.engine.connect() as connection:
        assert current(connection) == expected.pop("revision")

    settings = Settings(
        data_dir=data, database_url=url, blob_url=None, inline_content_bytes=INLINE_BYTES
    )
    store = open_store(settings)
    try:
        assert missing(expected, everything(store)) == []
        with store.database.engine.connect() as connection:
            assert current(connection) == head()
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, SQLModel.metadata) == []
    finally:
        store.close()


def test_a_difference_is_noticed() -> None:
    recorded = {"a": [1, {"b": None}], "c": "x"}
    assert missing(recorded, {**recorded, "new": 1}) == []
    assert missing(recorded, {"a": [1, {"b": 0}]}) == ["/a/1/b", "/c"]
    assert missing(recorded, {"a": [1], "c": "x"}) == ["/a"]
