"""``python -m benchmarks.peers.imap_tools_loop PORT USER PASSWORD FOLDER``: what one would write.

imap_tools in bulk, nh3 on the html, and a row of SQLite for each mail, committed by the hundred.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import nh3
from imap_tools import MailBoxUnencrypted, MailMessage

_AT_ONCE = 100
_SCHEMA = """
CREATE TABLE message (uid INTEGER PRIMARY KEY, message_id TEXT, subject TEXT, sender TEXT,
  sent_at TEXT, text TEXT, html TEXT, attachments TEXT);
CREATE INDEX by_message_id ON message (message_id);
"""
_Row = tuple[int, str, str, str, str, str, str, str]


def row(mail: MailMessage) -> _Row:
    """A mail as it is kept."""
    files = [(a.filename, a.content_type, len(a.payload)) for a in mail.attachments]
    identifier = (mail.headers.get("message-id") or [""])[0]
    texts = identifier, mail.subject, mail.from_, mail.date.isoformat(), mail.text
    return (int(mail.uid or 0), *texts, nh3.clean(mail.html), json.dumps(files))


def copy(port: int, user: str, password: str, folder: Path) -> tuple[int, float]:
    """Copy the inbox; returns mails and seconds."""
    started = time.perf_counter()
    store = sqlite3.connect(folder / "mails.sqlite3")
    store.executescript(_SCHEMA)
    with MailBoxUnencrypted("127.0.0.1", port).login(user, password) as mailbox:
        rows: Iterator[_Row] = map(row, mailbox.fetch(mark_seen=False, bulk=_AT_ONCE))
        while chunk := list(islice(rows, _AT_ONCE)):
            store.executemany("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?)", chunk)
            store.commit()
    ended = time.perf_counter()
    (count,) = store.execute("SELECT count(*) FROM message").fetchone()
    store.close()
    return count, ended - started


if __name__ == "__main__":
    _port, _user, _password, _folder = sys.argv[1:]
    mails, seconds = copy(int(_port), _user, _password, Path(_folder))
    sys.stdout.write(json.dumps({"mails": mails, "seconds": seconds}) + "\n")
