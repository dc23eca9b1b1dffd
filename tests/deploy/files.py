"""docker-compose.yml, Dockerfile and .dockerignore, read as Docker reads them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"


def yaml(path: Path) -> dict[str, Any]:
    """Return a YAML document."""
    document: dict[str, Any] = YAML(typ="safe").load(path)
    return document


def compose() -> dict[str, Any]:
    """Return docker-compose.yml."""
    return yaml(COMPOSE)


def services() -> dict[str, dict[str, Any]]:
    """Return its services by name."""
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def dockerfile() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile: word and arguments."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word]


def final_stage() -> list[tuple[str, str]]:
    """Return the instructions of the last stage."""
    instructions = dockerfile()
    begin = max(n for n, (word, _) in enumerate(instructions) if word == "FROM")
    return instructions[begin:]


def ignored(path: str) -> bool:
    """Tell whether .dockerignore keeps a path out: the last pattern that matches it decides."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if pattern and not line.startswith("#") and _matches(pattern, path):
            verdict = not line.startswith("!")
    return verdict


def _matches(pattern: str, path: str) -> bool:
    expression = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
    return re.fullmatch(f"{expression}(/.*)?", path) is not None


def copied() -> list[str]:
    """Return the files of ours that the final image holds, relative to both roots."""
    sources = [
        source
        for word, rest in final_stage()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    files = [
        file
        for source in sources
        for file in ((ROOT / source).rglob("*") if (ROOT / source).is_dir() else [ROOT / source])
        if file.is_file()
    ]
    names = [str(file.relative_to(ROOT)) for file in files]
    return sorted(name for name in names if not ignored(name))


def unpack_image(target: Path) -> Path:
    """Lay the files of the image out in a folder, as its /app."""
    for name in copied():
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, place)
    return target
