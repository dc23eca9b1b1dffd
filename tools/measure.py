"""Adapters between the engine and outside measuring scripts, and the command that runs them.

``python -m tools.measure [--shared DIR]`` runs each script with our adapter and prints its last
line. The scripts and their material are no part of this repository and are never copied into it;
without them the command says so and ends well.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from activities.mail.charset import decode
from activities.mail.parse import parse
from activities.mail.sanitize import sanitize
from activities.mail.structure import Part, read_structure
from activities.mail.tnef import read_tnef
from models.addresses import AddrSpec

_ROOT = Path(__file__).resolve().parents[1]
_DIRECTORY_VARIABLE = "EMAIL_CONNECTOR_MEASURE_DIR"
_ADDR_SPEC: TypeAdapter[str] = TypeAdapter(AddrSpec)

# Script, and the adapter it is run with.
_MEASUREMENTS = {
    "mime": "mime",
    "robust": "mime",
    "html": "html",
    "tnef": "tnef",
    "addresses": "addresses",
}


def addresses(text: str) -> bool:
    """Return True for an address that may be a recipient; raise for any other."""
    _ADDR_SPEC.validate_python(text)
    return True


def mime(raw: bytes) -> dict[str, Any]:
    """A mail as the reader of received mail sees it; ``leaves`` also opens enclosed mails."""
    mail = parse(raw)
    return {
        "subject": mail.subject,
        "from": mail.from_,
        "to": mail.to,
        "cc": mail.cc,
        "date": mail.date,
        "text_parts": [] if mail.text is None else [mail.text],
        "html_parts": [] if mail.html is None else [mail.html],
        "attachments": [
            {"name": part.name, "type": part.content_type, "bytes": part.data}
            for part in mail.parts
        ],
        "leaves": list(_leaves(read_structure(raw), 0)),
    }


def _leaves(part: Part, depth: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for leaf in part.leaves():
        if leaf.type == "message/rfc822" and depth < 50:
            found += _leaves(read_structure(leaf.content), depth + 1)
        else:
            text = decode(leaf.content, leaf.charset) if leaf.type.startswith("text/") else None
            found.append({"type": leaf.type, "bytes": leaf.content, "text": text})
    return found


def html(text: str) -> str:
    """Html as it is shown, nothing loaded from outside."""
    return sanitize(text)


def tnef(stream: bytes) -> list[dict[str, Any]]:
    """What a ``winmail.dat`` holds, the body as a file of its own."""
    found = read_tnef(stream)
    if found is None:
        return []
    items: list[dict[str, Any]] = [{"name": file.name, "bytes": file.data} for file in found.files]
    if found.rtf is not None:
        items.append({"name": "message.rtf", "bytes": found.rtf})
    if found.html is not None:
        items.append({"name": "message.html", "bytes": found.html.encode()})
    return items


def main(arguments: list[str] | None = None) -> None:
    """Run the measurements that are there and print the last line of each."""
    parser = argparse.ArgumentParser(prog="python -m tools.measure", description=__doc__)
    default = os.environ.get(_DIRECTORY_VARIABLE) or str(_ROOT.parent / "shared" / "measure")
    parser.add_argument("--shared", default=default, help="folder of the measuring scripts")
    folder = Path(parser.parse_args(arguments).shared)
    for name, adapter in _MEASUREMENTS.items():
        script = folder / f"{name}.py"
        if not script.is_file():
            _say(f"{name:10} not measured: {script} is not there")
            continue
        done = subprocess.run(
            [sys.executable, str(script), "--adapter", f"tools.measure:{adapter}"],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = (
            done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["no answer"]
        )
        _say(f"{name:10} {lines[-1]}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
