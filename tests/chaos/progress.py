"""What a long run has done so far: one line of JSON for each round that ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Progress:
    """Rounds on disk; those of a run that was asked for something else are not ours.

    Args:
        path: Where they stand, one a line.
        asked: What the run was asked for; decides whether a line belongs to it.
        resume: Go on after the rounds that stand there, instead of starting anew.
    """

    def __init__(self, path: Path, asked: dict[str, Any], *, resume: bool) -> None:
        self._path = path
        self._asked = json.loads(json.dumps(asked))
        path.parent.mkdir(parents=True, exist_ok=True)
        if not resume:
            path.unlink(missing_ok=True)

    def done(self) -> dict[str, dict[str, Any]]:
        """Figures of the rounds that ended, by name."""
        if not self._path.exists():
            return {}
        found: dict[str, dict[str, Any]] = {}
        for line in self._path.read_text().splitlines(keepends=True):
            if not line.endswith("\n"):
                break  # its writer was cut off
            entry = json.loads(line)
            if entry["asked"] == self._asked:
                found[entry["round"]] = entry["figures"]
        return found

    def add(self, name: str, figures: dict[str, Any]) -> None:
        """Note a round."""
        text = self._path.read_text() if self._path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        entry = {"round": name, "asked": self._asked, "figures": figures}
        draft = self._path.with_suffix(".draft")
        draft.write_text(whole + json.dumps(entry) + "\n")
        draft.replace(self._path)

    def forget(self) -> None:
        """The run is over; the next one starts anew."""
        self._path.unlink(missing_ok=True)


def add_up(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum of figures: numbers are added, lists joined, and so within what is named."""
    total: dict[str, Any] = {}
    for figures in rounds:
        for name, value in figures.items():
            if isinstance(value, dict):
                total[name] = add_up([total.get(name, {}), value])
            else:
                total[name] = total[name] + value if name in total else value
    return total
