"""The embedded mail server as a process: SMTP in, IMAP out."""

from __future__ import annotations

import imaplib
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from starter.embedded.credentials import MailServerFacts
from starter.embedded.mail import MailServer

MAIL = b"Subject: hi\r\nX-Bytes: \xc3\xa9\r\n\r\n.a dot, and a byte \xff\r\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MailServer]:
    """A running server."""
    with MailServer(tmp_path) as running:
        yield running


def deliver(facts: MailServerFacts, *recipients: str) -> None:
    with smtplib.SMTP(facts.host, facts.smtp_port, timeout=10) as smtp:
        smtp.login("anna@demo.example", facts.password)
        smtp.sendmail("anna@demo.example", recipients, MAIL)


def mailbox(facts: MailServerFacts, user: str) -> imaplib.IMAP4:
    imap = imaplib.IMAP4(facts.host, facts.imap_port, timeout=10)
    try:
        imap.login(user, facts.password)
    except imaplib.IMAP4.error:
        imap.shutdown()
        raise
    return imap


def count(imap: imaplib.IMAP4, folder: str) -> int:
    _, (number,) = imap.select(folder, readonly=True)
    return int(number or b"0")


def test_what_goes_in_comes_out_byte_for_byte(server: MailServer) -> None:
    deliver(server.facts, "bob@demo.example", "Carol@Demo.Example")
    for user in ("bob@demo.example", "carol@demo.example"):
        with mailbox(server.facts, user) as imap:
            assert count(imap, "INBOX") == 1
            _, answer = imap.fetch("1", "(BODY.PEEK[])")
            assert isinstance(answer[0], tuple)
            assert answer[0][1] == MAIL


def test_a_mail_is_moved_to_the_archive(server: MailServer) -> None:
    deliver(server.facts, "bob@demo.example")
    with mailbox(server.facts, "bob@demo.example") as imap:
        for capability in (b"MOVE", b"UIDPLUS", b"IDLE"):
            assert capability in imap.capability()[1][0].split()
        imap.select("INBOX")
        assert imap.uid("MOVE", "1:*", "Archive")[0] == "OK"
        assert (count(imap, "INBOX"), count(imap, "Archive")) == (0, 1)


def test_logins_need_the_password(server: MailServer) -> None:
    facts = server.facts.model_copy(update={"password": "wrong"})
    with pytest.raises(imaplib.IMAP4.error):
        mailbox(facts, "bob@demo.example")
    with pytest.raises(smtplib.SMTPAuthenticationError):
        deliver(facts, "bob@demo.example")
    with smtplib.SMTP(facts.host, facts.smtp_port, timeout=10) as smtp:
        smtp.ehlo()
        assert smtp.mail("anna@demo.example")[0] == 530


def test_other_domains_are_refused(server: MailServer) -> None:
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        deliver(server.facts, "bob@elsewhere.example")


def test_a_restart_keeps_ports_and_password(tmp_path: Path) -> None:
    with MailServer(tmp_path) as first:
        before = first.facts
    with MailServer(tmp_path) as second:
        assert second.facts == before
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0
    assert before.password not in repr(before)
