"""Installs the servers and tools that the tests need, where they are missing (Debian, apt)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.servers.postgres import find_program

_POLICY = Path("/usr/sbin/policy-rc.d")


@dataclass(frozen=True)
class Component:
    """An apt package and how to tell that what it brings is there already."""

    package: str
    present: Callable[[], bool]


def _on_path(*names: str) -> Callable[[], bool]:
    # Not every user's PATH has the folders of system programs.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return lambda: any(shutil.which(name, path=path) for name in names)


def _file(path: str) -> Callable[[], bool]:
    return lambda: Path(path).exists()


COMPONENTS = (
    Component("dovecot-imapd", _file("/usr/lib/dovecot/imap")),
    Component("dovecot-pop3d", _file("/usr/lib/dovecot/pop3")),
    Component("dovecot-lmtpd", _file("/usr/lib/dovecot/lmtp")),
    Component("postfix", _on_path("smtp-sink")),
    Component("postgresql", lambda: find_program("initdb") is not None),
    Component("strace", _on_path("strace")),
    Component("isync", _on_path("mbsync")),
    Component("redis-server", _on_path("redis-server")),
    Component("chromium", _on_path("chromium", "chromium-browser", "google-chrome")),
)


def missing() -> list[str]:
    """Return the packages whose programs are not there."""
    return [component.package for component in COMPONENTS if not component.present()]


def install() -> int:
    """Install what is missing; never starts a service.

    Returns:
        An exit code.
    """
    packages = missing()
    if not packages:
        _report("every server and tool is there")
        return 0
    _report(f"missing: {' '.join(packages)}")
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        _report(f"run this as root, or install the same by hand: {' '.join(command)}")
        return 1
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    lock = ["-o", "DPkg::Lock::Timeout=600"]
    with _no_services():
        subprocess.run(["apt-get", *lock, "update"], env=environment, check=True)
        subprocess.run([*command, *lock], env=environment, check=True)
    left = missing()
    if left:
        _report(f"still missing after the installation: {' '.join(left)}")
    return 1 if left else 0


@contextmanager
def _no_services() -> Iterator[None]:
    """Forbid package scripts to start services: ours are started by the tests, on free ports."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def _report(line: str) -> None:
    sys.stderr.write(f"servers: {line}\n")
