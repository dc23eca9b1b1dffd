"""The other servers of the suite, and the commands that install and run them all."""

import json
import smtplib
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import psycopg

from tools.servers import install
from tools.servers.postgres import Postgres
from tools.servers.process import greets
from tools.servers.smtp_sink import SmtpSink


class TestPostgres:
    def test_answers_in_a_database_of_its_own(self, postgres: Postgres) -> None:
        url = postgres.create_database(f"test_{uuid4().hex[:8]}")
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            assert connection.execute("SHOW fsync").fetchone() == ("on",)

    def test_keeps_committed_rows_over_a_crash(self, server_directory: Path) -> None:
        with Postgres(server_directory / "pg-crash") as server:
            url = server.create_database("kept").replace("+psycopg", "")
            with psycopg.connect(url) as connection:
                connection.execute("CREATE TABLE t AS SELECT 7 AS n")
            interrupted = psycopg.connect(url)
            interrupted.execute("INSERT INTO t VALUES (8)")
            server.kill()
            interrupted.close()
            server.start()
            with psycopg.connect(url) as connection:
                assert connection.execute("SELECT n FROM t").fetchall() == [(7,)]
            server.drop_database("kept")


def test_smtp_sink_counts_what_it_takes(server_directory: Path) -> None:
    with SmtpSink(server_directory / "sink") as sink:
        with smtplib.SMTP(sink.host, sink.port) as client:
            for _ in range(5):
                client.sendmail(
                    "a@example.org", ["b@example.org"], b"Subject: one\r\n\r\nHello.\r\n"
                )
        sink.wait_for(5, timeout=10)
        assert sink.count() == 5


def test_everything_the_suite_needs_is_installed() -> None:
    assert install.missing() == []


def test_up_prints_its_ports_and_stops_on_a_signal() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tools.servers", "up"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line == "}\n":
                break
        process.terminate()
        assert process.wait(30) == 0

    ports = json.loads("".join(lines))
    assert not greets(ports["imap"])
    assert not greets(ports["smtp"])
    assert not Path(ports["directory"]).exists()
