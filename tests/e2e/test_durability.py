"""Stored first: what is stored survives a power cut before any server hears of it.

The order of the worker's system calls tells; it is taken down by strace. With SQLite and files
these are fsync and rename; with PostgreSQL and S3, what is said to them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text
from temporalio.client import Client

from activities.store.engine import Database
from models.names import WorkflowType
from tests.e2e.conftest import add_namespace, incoming
from tests.e2e.harness import Connector, connector_settings, execute
from tests.e2e.mails import delivered, mail
from tests.e2e.processes import ChildProcess, child, python
from tests.smtp_server import SmtpServer
from tests.stores import Stores, store_environment
from tools.servers.dovecot import Dovecot
from tools.temporal import DevServer

CALLS = "fsync,fdatasync,rename,renameat,renameat2,write,writev,pwrite64,sendto,sendmsg"
LARGE = b"0123456789abcdef" * 20_000


@dataclass(frozen=True)
class Call:
    """A system call: what it was given, and the places of its start and its end in the record."""

    name: str
    arguments: str
    start: int
    end: int


_LINE = re.compile(r"(?P<pid>\d+) +(?P<rest>.*)")
_WHOLE = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += .*")
_BEGUN = re.compile(r"(?P<name>\w+)\((?P<arguments>.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<arguments>.*)")


def calls(record: str) -> list[Call]:
    """Return the calls of a strace record; one that another thread interrupts takes two lines."""
    found: list[Call] = []
    begun: dict[str, Call] = {}
    for number, line in enumerate(record.splitlines()):
        match = _LINE.match(line)
        if match is None:
            continue
        pid, rest = match["pid"], match["rest"]
        if (part := _BEGUN.match(rest)) is not None:
            begun[pid] = Call(part["name"], part["arguments"], number, number)
        elif (part := _RESUMED.match(rest)) is not None and pid in begun:
            first = begun.pop(pid)
            found.append(Call(first.name, first.arguments + part["arguments"], first.start, number))
        elif (part := _WHOLE.match(rest)) is not None:
            found.append(Call(part["name"], part["arguments"], number, number))
    return sorted(found, key=lambda call: call.start)


def test_the_record_is_read() -> None:
    found = calls(
        "1 fsync(3</a/content/x>) = 0\n"
        '2 sendto(4<TCP:[1->2]>, "UID MOVE 1 (a)", 14, 0, NULL, 0 <unfinished ...>\n'
        "1 fdatasync(5</a/db-wal>) = 0\n"
        "2 <... sendto resumed>) = 14\n"
        "1 +++ exited with 0 +++\n"
    )
    assert [(c.name, c.start, c.end) for c in found] == [
        ("fsync", 0, 0),
        ("sendto", 1, 3),
        ("fdatasync", 2, 2),
    ]


class Record:
    """What a worker asked its kernel for."""

    def __init__(self, found: Sequence[Call]) -> None:
        self.calls = found

    def syncs(self, path: str) -> list[Call]:
        """Calls that make a file or folder durable, whose path holds ``path``."""
        return [c for c in self.calls if c.name in ("fsync", "fdatasync") and path in c.arguments]

    def writes(self, path: str) -> list[Call]:
        """Calls that write to a file whose path holds ``path``."""
        names = ("write", "writev", "pwrite64")
        return [c for c in self.calls if c.name in names and f"{path}>" in c.arguments]

    def renames(self, path: str) -> list[Call]:
        """Calls that rename a file whose path holds ``path``."""
        return [c for c in self.calls if c.name.startswith("rename") and path in c.arguments]

    def told(self, words: str) -> list[Call]:
        """The calls that send ``words`` to another machine."""
        names = ("sendto", "sendmsg", "write", "writev")
        return [
            c
            for c in self.calls
            if c.name in names and "<TCP" in c.arguments and words in c.arguments
        ]

    def said(self, words: str) -> Call:
        """The one call that sends ``words`` to another machine."""
        (found,) = self.told(words)
        return found

    def assert_committed(self, moment: Call, kind: str) -> Call:
        """Assert that the store had committed everything by then; the last commit."""
        return self._committed(moment) if kind == "postgresql" else self._synced(moment)

    def _committed(self, moment: Call) -> Call:
        """Every change was followed by its COMMIT, which PostgreSQL answers from its disk."""
        commits = [c for c in self.told("COMMIT") if c.end < moment.start]
        changes = [c for verb in ("INSERT INTO", "UPDATE ") for c in self.told(verb)]
        changes = [c for c in changes if c.end < moment.start]
        assert changes
        assert commits
        assert commits[-1].start > max(c.end for c in changes)
        return commits[-1]

    def _synced(self, moment: Call) -> Call:
        """Every write to the log of SQLite was synced."""
        writes = [c for c in self.writes("-wal") if c.end < moment.start]
        syncs = [c for c in self.syncs("-wal") if c.end < moment.start]
        assert writes
        assert syncs
        assert syncs[-1].start > writes[-1].end
        return syncs[-1]


@pytest.fixture
def traced(
    stores: Stores, tmp_path: Path, temporal_server: DevServer
) -> Iterator[tuple[Connector, ChildProcess, Path]]:
    """A store, and a worker over it whose system calls are taken down."""
    assert shutil.which("strace"), "strace is not installed: python -m tools.servers install"
    namespace, record = add_namespace(temporal_server), tmp_path / "calls"
    connector = Connector(
        connector_settings(stores, tmp_path / "d", temporal_server.address, namespace)
    )
    environment = {
        **store_environment(connector.settings),
        "EMAIL_CONNECTOR_TEMPORAL_ADDRESS": temporal_server.address,
        "EMAIL_CONNECTOR_TEMPORAL_NAMESPACE": namespace,
    }
    # -yy: paths and peers instead of bare numbers.
    command = ["strace", "-f", "--seccomp-bpf", "-yy", "-s", "128", "-o", str(record)]
    command += ["-e", f"trace={CALLS}", *python("-m", "worker")]
    with child(
        command, tmp_path / "worker.log", ready="worker ready", environment=environment
    ) as process:
        yield connector, process, record
    connector.store.close()


class TestOrder:
    async def test_mail_is_on_disk_before_the_server_is_touched(
        self,
        traced: tuple[Connector, ChildProcess, Path],
        stores: Stores,
        dovecot: Dovecot,
        user: str,
    ) -> None:
        connector, _, record = traced
        client: Client = await connector.client()
        # Readable for strace, hence no TLS.
        server = incoming(
            dovecot, port=dovecot.imap_port, protocol="imap", security="none", username=user
        )
        account = connector.add_account(password=dovecot.password, incoming=server)
        dovecot.create_folder(user, "Done")
        dovecot.deliver(user, mail(attachment=("large.pdf", LARGE)))
        result = await execute(
            client,
            WorkflowType.RETRIEVE_EMAIL_MESSAGES,
            {"account": account, "handling": "move", "move_folder": "Done"},
        )
        assert result["handled"] == 1
        assert len(delivered(dovecot, user, "Done")) == 1

        found = Record(calls(record.read_text(errors="replace")))
        move = found.said("UID MOVE 1")
        committed = found.assert_committed(move, stores.kind)
        if stores.kind == "postgresql":
            assert max(put.end for put in found.told('"PUT /')) < committed.start
            return
        (renamed,) = found.renames("/content/")
        file_synced, *folders_synced = found.syncs("/content")
        assert file_synced.end < renamed.start
        # Both the file's folder and the one above it, which is new as well.
        assert len(folders_synced) >= 2
        assert all(renamed.end < sync.start for sync in folders_synced)
        assert max(sync.end for sync in folders_synced) < committed.start

    async def test_intent_is_on_disk_before_the_final_dot(
        self, traced: tuple[Connector, ChildProcess, Path], stores: Stores
    ) -> None:
        connector, _, record = traced
        client: Client = await connector.client()
        async with SmtpServer() as smtp:
            server = {"host": "127.0.0.1", "port": smtp.port, "security": "none", "login": "none"}
            account = connector.add_account(outgoing=server)
            message = {"to": "a@example.net", "plain_body": "Farewell\n" * 40_000}
            result = await execute(
                client, WorkflowType.SEND_EMAIL, {"account": account, "message": message}
            )
        assert result["status"] == "sent"
        found = Record(calls(record.read_text(errors="replace")))
        envelope = found.said("RCPT TO:<a@example.net>")
        if stores.kind == "postgresql":
            assert max(put.end for put in found.told('"PUT /')) < envelope.start
        else:
            assert all(sync.end < envelope.start for sync in found.syncs("/content"))
            assert len(found.syncs("/content")) >= 3
        found.assert_committed(envelope, stores.kind)
        dot = found.said(r', ".\r\n", 3')
        committed = found.assert_committed(dot, stores.kind)
        # A commit of its own, between the content and the dot.
        content = found.told(r"Farewell\r\nFarewell")
        assert max(chunk.end for chunk in content) < committed.start


class TestDatabase:
    def test_every_connection_is_durable(self, common_connector: Connector) -> None:
        """More connections than the pool keeps, and no variable of theirs spares a sync."""
        database: Database = common_connector.store.database
        wanted: dict[str, object] = {"fsync": "on", "synchronous_commit": "on"}
        ask = "SHOW"
        if database.is_sqlite:
            wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
            ask = "PRAGMA"
        with ExitStack() as opened:
            for _ in range(30):
                connection = opened.enter_context(database.engine.connect())
                if database.is_sqlite:
                    connection = connection.execution_options(reads_only=True)
                found = {n: connection.execute(text(f"{ask} {n}")).scalar() for n in wanted}
                assert found == wanted
