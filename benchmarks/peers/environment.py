"""The peers' own environment: made once in the cache, from pinned and hashed packages."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import venv
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

_LOCK = Path(__file__).with_name("requirements.lock")
_ROOT = Path(__file__).parents[2]
_NAMED = (
    "aiosmtplib",
    "celery",
    "Django",
    "django-post_office",
    "imap-tools",
    "nh3",
    "redis",
)
_LIMIT_SECONDS = 900


class PeerError(RuntimeError):
    """A peer's program failed; the message ends with what it wrote."""


def python() -> Path:
    """The interpreter of the peers' environment, which is made where there is none."""
    folder = _folder()
    program = folder / "bin" / "python"
    if not (folder / "complete").exists():
        sys.stderr.write(f"installing the peers into {folder}\n")
        venv.create(folder, clear=True, with_pip=True)
        command = [str(program), "-m", "pip", "install", "--quiet", "--require-hashes"]
        subprocess.run([*command, "--requirement", str(_LOCK)], check=True)
        (folder / "complete").touch()
    return program


def versions() -> dict[str, str]:
    """Versions of the peers."""
    found = distributions(path=[str(path) for path in _folder().glob("lib/*/site-packages")])
    return {it.name: it.version for it in found if it.name in _NAMED}


def variables(extra: dict[str, str]) -> dict[str, str]:
    """The variables of a peer's process."""
    return {**os.environ, "PYTHONPATH": str(_ROOT), **extra}


async def answer(module: str, *arguments: object, extra: dict[str, str]) -> dict[str, Any]:
    """Run one of the peers' programs and return what it answers, the last line of its output."""
    process = await asyncio.create_subprocess_exec(
        str(python()),
        "-m",
        f"benchmarks.peers.{module}",
        *map(str, arguments),
        cwd=_ROOT,
        env=variables(extra),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise PeerError(f"{module} failed: {errors.decode(errors='replace')[-2000:]}")
    result: dict[str, Any] = json.loads(output.decode().strip().splitlines()[-1])
    return result


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    name = hashlib.sha256(_LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    return Path(base).expanduser() / "email-connector" / "peers" / name
