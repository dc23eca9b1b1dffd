"""The embedded mail server as a process: SMTP in, IMAP out."""

from __future__ import annotations

import imaplib
import smtplib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import ConnectorError
from starter.embedded.credentials import MailServerFacts
from starter.embedded.mail import MailServer
from starter.embedded.temporal import usual_port
from tools.servers.process import free_port

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


def test_two_at_once_do_not_share_a_usual_port() -> None:
    port = free_port()
    with usual_port(port) as first, usual_port(port) as second:
        assert first == port
        assert second != port
    with usual_port(port) as again:
        assert again == port


def test_a_port_in_use_is_not_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with usual_port(port) as other:
            assert other != port
        with pytest.raises(ConnectorError, match="in use"), usual_port(7233, port):
            pass
