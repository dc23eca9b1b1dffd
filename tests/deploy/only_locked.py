"""Imports what the image runs, with the libraries of its lock alone: `only_locked.py APP LOCK`."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.metadata
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

RUN = ["worker", "starter.cli.main", "starter.demo", "starter.embedded.mailserver",
       "starter.embedded.callback_worker"]  # fmt: skip


class OnlyLocked(importlib.abc.MetaPathFinder):
    """Finds nothing that belongs to other libraries alone, and says which."""

    def __init__(self, lock: Path) -> None:
        pins = re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==", lock.read_text(), re.MULTILINE)
        self._locked = {_plain(name) for name in pins}
        self._owners = importlib.metadata.packages_distributions()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Refuse a module of a library that is not in the lock."""
        owners = {_plain(owner) for owner in self._owners.get(name.partition(".")[0], [])}
        if owners and not owners & self._locked:
            raise ModuleNotFoundError(f"{name} of {sorted(owners)} is not in the image", name=name)
        return None


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Import everything that the image's commands import."""
    app, lock = sys.argv[1:]
    sys.path[0] = app
    sys.meta_path.insert(0, OnlyLocked(Path(lock)))
    for name in RUN:
        importlib.import_module(name)


if __name__ == "__main__":
    main()
