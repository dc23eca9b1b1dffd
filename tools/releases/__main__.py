"""Records what this version's store looks like: `python -m tools.releases 0.1.0`.

Run once for every release, at its tag. The folder is a data folder (keys, large content) with the
database as SQL for both kinds, and what could be read out of it (tests/store/test_releases.py).
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from activities.store.assembly import open_store
from activities.store.copying import copy_store
from activities.store.migrate import head
from models.settings import Settings
from tools.releases.reading import everything
from tools.releases.sample import INLINE_BYTES, populate
from tools.servers.postgres import Postgres, find_program

FOLDER = Path(__file__).parents[2] / "tests" / "store" / "releases"


def main(version: str) -> None:
    """Write ``tests/store/releases/VERSION``."""
    with tempfile.TemporaryDirectory(prefix="ec-", dir="/tmp") as name:
        data, server = Path(name) / "data", Path(name) / "postgres"
        Path(name).chmod(0o755)  # PostgreSQL's user has to get in
        settings = Settings(
            data_dir=data, database_url=None, blob_url=None, inline_content_bytes=INLINE_BYTES
        )
        store = open_store(settings)
        populate(store)
        expected = {"revision": head(), **everything(store)}
        store.close()
        with Postgres(server) as postgres:
            target = postgres.create_database("release")
            copy_store(settings.sqlalchemy_url(), target, lambda *_: None)
            dump = _postgresql_dump(postgres, "release")
        release = FOLDER / version
        shutil.rmtree(release, ignore_errors=True)
        shutil.copytree(data / "content", release / "content")
        shutil.copy(data / "keys.json", release / "keys.json")
        (release / "sqlite.sql").write_text(_sqlite_dump(data / "email-connector.db"))
        (release / "postgresql.sql").write_text(dump)
        (release / "expected.json").write_text(
            json.dumps(expected, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        )


def _sqlite_dump(file: Path) -> str:
    connection = sqlite3.connect(file)
    try:
        return "".join(f"{line}\n" for line in connection.iterdump())
    finally:
        connection.close()


def _postgresql_dump(postgres: Postgres, name: str) -> str:
    url = postgres.url(name).replace("+psycopg", "")
    program = find_program("pg_dump") or "pg_dump"
    options = ["--inserts", "--no-owner", "--no-privileges", "--encoding=UTF8"]
    done = subprocess.run([program, *options, url], capture_output=True, text=True, check=True)
    # Comments name the server's build; lines with a backslash are for psql alone.
    lines = [x for x in done.stdout.splitlines() if x and not x.startswith(("--", "\\"))]
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
