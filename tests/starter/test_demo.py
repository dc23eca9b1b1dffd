"""`demo` as somebody runs it on a new machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.starter.kit import clean_environment
from tests.stores import Stores


def demo(home: Path, stores: Stores, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "starter", "demo", *options],
        env=clean_environment(home, stores),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def test_the_whole_job_is_shown(tmp_path: Path, stores: Stores) -> None:
    done = demo(tmp_path, stores)
    assert done.returncode == 0, done.stderr
    assert "12 sent, 12 received in 3 batches, 3 callbacks" in done.stdout
    assert done.stdout.count("Archive") == 12
    assert "/namespaces/default/workflows/retrieve%2F" in done.stdout
    (folder,) = (tmp_path / "data" / "demo").iterdir()
    assert (folder / "email-connector.db").is_file()


def test_a_program_reads_the_same(tmp_path: Path, stores: Stores) -> None:
    done = demo(tmp_path, stores, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["retrieved"]["handled"] == 12
    assert all(mail["taken"] and mail["moved_to"] == "Archive" for mail in report["mails"])
