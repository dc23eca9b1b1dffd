"""Writes the next migration from the difference between the tables and the migrations so far.

python -m tools.new_migration 0002 "Add templates"
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command

from activities.store.engine import Database
from activities.store.migrate import configuration, migrate

_VERSIONS = Path(__file__).parents[1] / "activities" / "store" / "migrations" / "versions"


def main(revision: str, message: str) -> None:
    """Write ``activities/store/migrations/versions/REVISION_MESSAGE.py``."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/empty.db")
        if any(_VERSIONS.glob("*.py")):
            migrate(database)
        with database.engine.begin() as connection:
            command.revision(configuration(connection), message, autogenerate=True, rev_id=revision)
        database.close()
    for path in _VERSIONS.glob(f"{revision}_*.py"):
        # The tables' string type renders as a type of its own; in SQL it is an ordinary string.
        text = path.read_text().replace("sqlmodel.sql.sqltypes.AutoString", "sa.String")
        path.write_text(text.replace("models.tables.columns.UtcDateTime", "UtcDateTime"))


if __name__ == "__main__":
    main(*sys.argv[1:])
