"""Mails to put into mailboxes, and mails as they arrived there."""

from __future__ import annotations

import email
import email.policy
import os
import time
import uuid
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

from tools.servers.dovecot import Dovecot

# The smallest picture there is: one transparent pixel.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c626001000000050001a5f645400000000049454e44ae426082"
)
PDF = b"%PDF-1.4\n1 0 obj\n<< >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n" + bytes(range(256))


def mail(
    subject: str = "Subject",
    *,
    sender: str = "sender@example.org",
    to: str = "recipient@example.net",
    text: str = "Hello.\n",
    html: str | None = None,
    attachment: tuple[str, bytes] | None = None,
) -> bytes:
    """Return a mail with CRLF line ends, unlike any other."""
    message = EmailMessage(email.policy.SMTP)
    message["From"] = sender
    message["To"] = to
    message["Subject"] = subject
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = f"<{uuid.uuid4().hex}@example.org>"
    message.set_content(text)
    if html is not None:
        message.add_alternative(html, subtype="html")
    if attachment is not None:
        name, data = attachment
        message.add_attachment(data, maintype="application", subtype="pdf", filename=name)
    return message.as_bytes()


def delivered(dovecot: Dovecot, user: str, folder: str = "INBOX", number: int = 1) -> list[bytes]:
    """Wait for ``number`` mails in a folder and return them all, by file name."""
    folders = [dovecot.maildir(user, folder) / name for name in ("new", "cur")]
    deadline = time.monotonic() + 15
    while True:
        files = [f for each in folders if each.is_dir() for f in each.iterdir()]
        if len(files) >= number:
            return [f.read_bytes() for f in sorted(files, key=lambda f: f.name)]
        assert time.monotonic() < deadline, f"{len(files)} of {number} mails arrived"
        time.sleep(0.02)


class RawLog:
    """What clients say to a `talkative` server in the name of one user, who has mail already."""

    def __init__(self, dovecot: Dovecot, user: str) -> None:
        inbox = dovecot.maildir(user)
        self._folder = inbox.parent / "rawlog"
        self._folder.mkdir()
        owner = inbox.stat()
        os.chown(self._folder, owner.st_uid, owner.st_gid)

    def take(self) -> bytes:
        """Return all that was said since the last time."""
        said = b""
        for file in sorted(self._folder.glob("*.in")):
            said += file.read_bytes()
            file.unlink()
        return said


def parsed(raw: bytes) -> EmailMessage:
    """Return a mail as the standard library reads it."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def unfolded(raw: bytes) -> bytes:
    """Return a mail with line ends as a maildir has them."""
    return raw.replace(b"\r\n", b"\n")
