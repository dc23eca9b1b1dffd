"""Run the test servers by hand: `python -m tools.servers up [--dir DIR]` or `... install`."""

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import threading
from pathlib import Path

from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot
from tools.servers.install import install
from tools.servers.postfix import Postfix
from tools.servers.postgres import Postgres


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.servers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="install the servers that are missing (Debian, root)")
    up_parser = commands.add_parser("up", help="run Dovecot, Postfix and PostgreSQL until stopped")
    up_parser.add_argument(
        "--dir", type=Path, help="where they keep their data (default: a new /tmp folder)"
    )
    options = parser.parse_args(arguments)
    return install() if options.command == "install" else up(options.dir)


def up(directory: Path | None = None) -> int:
    """Run the servers in the foreground until SIGINT or SIGTERM; their ports go out as JSON."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with contextlib.ExitStack() as stack:
        root = directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ec-")))
        root.mkdir(parents=True, exist_ok=True)
        # The servers' own users must be able to enter it.
        root.chmod(0o755)
        root = root.resolve()
        authority = TestCA(root / "ca")
        certificate = authority.issue()
        dovecot = stack.enter_context(Dovecot(root / "dovecot", certificate))
        postfix = stack.enter_context(
            Postfix(
                root / "postfix",
                certificate,
                lmtp_port=dovecot.lmtp_port,
                auth_port=dovecot.auth_port,
            )
        )
        postgres = stack.enter_context(Postgres(root / "postgres"))
        sys.stdout.write(
            json.dumps(_summary(root, authority, dovecot, postfix, postgres), indent=2)
        )
        sys.stdout.write("\n")
        sys.stdout.flush()
        stopped.wait()
    return 0


def _summary(
    root: Path, authority: TestCA, dovecot: Dovecot, postfix: Postfix, postgres: Postgres
) -> dict[str, object]:
    return {
        "directory": str(root),
        "ca_file": str(authority.ca_file),
        "host": dovecot.host,
        "user": "any address",
        "password": dovecot.password,
        "imap": dovecot.imap_port,
        "imaps": dovecot.imaps_port,
        "pop3": dovecot.pop3_port,
        "pop3s": dovecot.pop3s_port,
        "smtp": postfix.smtp_port,
        "smtps": postfix.smtps_port,
        "postgresql": postgres.url(),
    }


if __name__ == "__main__":
    sys.exit(main())
