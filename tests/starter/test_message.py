"""Stored mails on the command line, and files on their way into one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from activities.mail.parse import parse
from activities.ports import FetchedMail
from activities.store import inbox
from activities.store.assembly import Store, open_store
from models.message import AttachmentPosition
from models.settings import Settings
from starter.attachments import File, attach
from starter.embedded.samples import document, picture
from tests.starter.kit import ADD, Cli
from tests.stores import Stores

RAW = (
    b"From: A <a@firm.example>\r\nTo: b@firm.example\r\nSubject: Hello \x1b[31mred\r\n"
    b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="x"\r\n\r\n'
    b"--x\r\nContent-Type: text/plain\r\n\r\nThe text. \x1b[2J\r\n"
    b'--x\r\nContent-Type: application/pdf; name="a.pdf"\r\n'
    b"Content-Disposition: attachment\r\n\r\nthe file\r\n--x--\r\n"
)


@pytest.fixture
def stored(cli: Cli) -> str:
    """Id of a received mail."""
    account_id = cli(*ADD, "--json", stdin="secret").json["id"]
    store = open_store(cli.settings)
    item = inbox.arrival(account_id, FetchedMail(1, RAW, datetime.now(UTC)))
    mail = parse(RAW)
    rows = store.content.prepare(inbox.pieces(item, mail, None))
    with store.database.write() as session:
        inbox.insert(session, account_id, [(item, mail)], rows)
    store.close()
    return item.message_id


def test_a_mail_is_listed_and_shown(cli: Cli, stored: str) -> None:
    assert [m["id"] for m in cli("message", "list", "--account", "Sales", "--json").json] == [
        stored
    ]
    assert stored in cli("message", "list").out
    shown = cli("message", "show", stored, "--json").json
    assert shown["text"].startswith("The text.")
    assert [part["name"] for part in shown["parts"]] == ["a.pdf"]


def test_a_mail_cannot_steer_the_terminal(cli: Cli, stored: str) -> None:
    for answer in (cli("message", "show", stored), cli("message", "list")):
        assert "\x1b" not in answer.out


def test_the_exact_bytes_are_exported(cli: Cli, stored: str, tmp_path: Path) -> None:
    wanted = {"raw": [], "part": ["--part", "0"], "text": ["--text"]}
    for name, options in wanted.items():
        answer = cli("message", "export", stored, *options, "-o", str(tmp_path / name))
        assert answer.code == 0
    assert (tmp_path / "raw").read_bytes() == RAW
    assert (tmp_path / "part").read_bytes() == b"the file"
    assert (tmp_path / "text").read_text().startswith("The text.")


@pytest.mark.parametrize("options", [["--part", "5"], ["--html"]])
def test_what_is_not_there_is_an_error(cli: Cli, stored: str, options: list[str]) -> None:
    answer = cli("message", "export", stored, *options, "-o", "unused", "--json")
    assert answer.json["error"]["type"] == "ContentNotFound"


@pytest.fixture
def store(tmp_path: Path, stores: Stores) -> Store:
    """An empty store."""
    return open_store(Settings(data_dir=tmp_path / "store", **stores.fresh()))


def written(folder: Path, name: str, size: int) -> File:
    path = folder / name
    path.write_bytes(b"x" * size)
    return File(path, AttachmentPosition.NORMAL)


def test_small_files_travel_and_large_ones_are_stored(store: Store, tmp_path: Path) -> None:
    files = [written(tmp_path, "small.txt", 200_000), written(tmp_path, "large.bin", 300_000)]
    small, large = attach(files, store)
    assert (small.content_type, small.content_ref) == ("text/plain", None)
    assert large.content is None
    with store.database.read() as session:
        _, data = store.content.read(session, large.content_ref or "")
    assert data == files[1].path.read_bytes()
    store.close()


def test_files_that_are_too_much_together_are_stored(store: Store, tmp_path: Path) -> None:
    files = [written(tmp_path, f"{n}.bin", 250_000) for n in range(5)]
    refs = [a.content_ref is not None for a in attach(files, store)]
    assert refs == [False, False, True, True, True]
    store.close()


def test_a_repeated_request_equals_the_first(store: Store, tmp_path: Path) -> None:
    files = [written(tmp_path, "large.bin", 300_000)]
    assert attach(files, store, key="k") == attach(files, store, key="k")
    assert attach(files, store, key="k") != attach(files, store, key="other")
    assert attach(files, store) != attach(files, store)
    store.close()


def test_the_samples_are_what_they_say() -> None:
    assert picture().startswith(b"\x89PNG")
    pdf = document("Welcome")
    start = int(pdf.rsplit(b"startxref\n", 1)[1].split(b"\n", 1)[0])
    assert pdf[start:].startswith(b"xref\n")
