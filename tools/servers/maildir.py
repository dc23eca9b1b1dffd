"""Maildirs laid out as Dovecot's `LAYOUT=fs` has them: written fast, owned by its mail user."""

import itertools
import os
import pwd
import time
from pathlib import Path

MAIL_USER = "nobody"
_SUBFOLDERS = ("cur", "new", "tmp")


class MaildirStore:
    """All users' maildirs below one root: `<root>/<user>/inbox` and `<root>/<user>/mail/<folder>`.

    Args:
        root: the folder that holds a folder for each user.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        account = pwd.getpwnam(MAIL_USER)
        self.uid, self.gid = account.pw_uid, account.pw_gid
        self._count = itertools.count()
        self._known: set[Path] = set()
        root.mkdir(parents=True, exist_ok=True)
        # The server makes the homes of users who log in before their first mail.
        os.chown(root, self.uid, self.gid)

    def path(self, user: str, folder: str = "INBOX") -> Path:
        """Return the maildir of a folder, whether or not it exists."""
        home = self.root / user.lower()
        return home / "inbox" if folder.upper() == "INBOX" else home / "mail" / folder

    def create(self, user: str, folder: str = "INBOX") -> Path:
        """Make a folder, its parents and its user's home."""
        path = self.path(user, folder)
        self._make(path)
        for name in _SUBFOLDERS:
            self._make(path / name)
        self._known.add(path)
        return path

    def deliver(self, user: str, raw: bytes, folder: str = "INBOX") -> str:
        """Put one mail into a folder and return its file name; later mails sort behind it.

        Raises:
            FileNotFoundError: when the folder, other than INBOX, does not exist.
        """
        path = self.path(user, folder)
        if path not in self._known:
            if folder.upper() != "INBOX" and not (path / "new").is_dir():
                raise FileNotFoundError(f"{user} has no folder {folder}")
            self.create(user, folder)
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        # Zero-filled: the server numbers new mail by the order of the names.
        name = f"{seconds}.M{nanoseconds // 1000:06}P{os.getpid():07}Q{next(self._count):09}.test"
        temporary = path / "tmp" / name
        with temporary.open("wb") as file:
            file.write(raw)
            os.fchown(file.fileno(), self.uid, self.gid)
        temporary.rename(path / "new" / name)
        return name

    def _make(self, path: Path) -> None:
        if path.is_dir():
            return
        self._make(path.parent)
        path.mkdir(mode=0o700)
        os.chown(path, self.uid, self.gid)
