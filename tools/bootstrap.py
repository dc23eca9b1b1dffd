"""Makes `.venv` with exactly what requirements.lock names; needs Python and its venv module only.

Run by the Makefile with the system's Python, so it imports nothing but the standard library.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / ".synced"
OLDEST = (3, 11)


def main() -> int:
    """Bring `.venv` in line with the lock file and return an exit code."""
    if sys.version_info < OLDEST:
        return _give_up(f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed: make PYTHON=...")
    try:
        if not _works(PYTHON):
            _make_environment()
        uv = _find_uv()
        _say(f"bringing {VENV.name} in line with {LOCK.name}")
        command = [uv, "pip", "sync", "--quiet", "--python", str(PYTHON)]
        _run([*command, "--require-hashes", str(LOCK)])
    except subprocess.CalledProcessError as error:
        return _give_up(f"this failed: {' '.join(map(str, error.cmd))}")
    STAMP.touch()
    return 0


def _works(python: Path) -> bool:
    try:
        subprocess.run([str(python), "-c", ""], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _make_environment() -> None:
    _say(f"making {VENV.name} with {sys.executable} ({sys.version.split()[0]})")
    if importlib.util.find_spec("ensurepip") is None:
        # Debian leaves it out of the interpreter's own package.
        uv = shutil.which("uv")
        if uv is not None:
            _run([uv, "venv", "--clear", "--python", sys.executable, str(VENV)])
            return
        _install_venv_module()
    _run([sys.executable, "-m", "venv", "--clear", str(VENV)])


def _install_venv_module() -> None:
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    install = ["apt-get", "install", "--yes", "--no-install-recommends", package]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        _say(f"this Python has no ensurepip; as root: {' '.join(install)}")
        raise subprocess.CalledProcessError(1, install)
    _say(f"this Python has no ensurepip; installing {package}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "update"], environment)
    _run(install, environment)


def _find_uv() -> str:
    found = shutil.which("uv") or shutil.which(str(PYTHON.with_name("uv")))
    if found is not None:
        return found
    if not _has_pip():
        # Made by a uv that is no longer there.
        shutil.rmtree(VENV)
        _make_environment()
    _say(f"installing uv into {VENV.name}")
    _run([str(PYTHON), "-m", "pip", "install", "--quiet", "uv"])
    return str(PYTHON.with_name("uv"))


def _has_pip() -> bool:
    probe = [str(PYTHON), "-c", "import pip"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    subprocess.run(command, check=True, cwd=ROOT, env=environment)


def _say(line: str) -> None:
    sys.stderr.write(f"bootstrap: {line}\n")
    sys.stderr.flush()


def _give_up(line: str) -> int:
    _say(line)
    return 1


if __name__ == "__main__":
    sys.exit(main())
