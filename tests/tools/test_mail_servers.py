"""The mail servers of the suite do what the tests of the engine rely on."""

import poplib
import smtplib
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from imapclient import IMAPClient
from imapclient.exceptions import LoginError

from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot
from tools.servers.postfix import Postfix
from tools.servers.process import free_port, greets

MAIL = b"Subject: %s\r\nFrom: a@example.org\r\n\r\nHello.\r\n"


def new_user() -> str:
    return f"user-{uuid4().hex[:12]}@example.org"


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def arrived(dovecot: Dovecot, user: str) -> list[Path]:
    return sorted((dovecot.maildir(user) / "new").glob("*"))


def imap(dovecot: Dovecot, test_ca: TestCA, user: str) -> IMAPClient:
    client = IMAPClient(
        "localhost", dovecot.imaps_port, ssl=True, ssl_context=test_ca.client_context()
    )
    client.login(user, dovecot.password)
    return client


class TestDovecot:
    def test_serves_imap_over_verified_tls(self, dovecot: Dovecot, test_ca: TestCA) -> None:
        user = new_user()
        dovecot.deliver(user, MAIL % b"one")
        with imap(dovecot, test_ca, user) as client:
            assert client.select_folder("INBOX", readonly=True)[b"EXISTS"] == 1
            (fetched,) = client.fetch(client.search(), ["BODY.PEEK[]"]).values()
        assert fetched[b"BODY[]"] == MAIL % b"one"

    def test_serves_imap_with_starttls(self, dovecot: Dovecot, test_ca: TestCA) -> None:
        with IMAPClient("localhost", dovecot.imap_port, ssl=False) as client:
            client.starttls(test_ca.client_context())
            client.login(new_user(), dovecot.password)
            assert client.folder_exists("INBOX")

    def test_serves_pop3_with_and_without_tls(self, dovecot: Dovecot, test_ca: TestCA) -> None:
        user = new_user()
        dovecot.deliver(user, MAIL % b"one")
        for client in (
            poplib.POP3("localhost", dovecot.pop3_port),
            poplib.POP3_SSL("localhost", dovecot.pop3s_port, context=test_ca.client_context()),
        ):
            client.user(user)
            client.pass_(dovecot.password)
            assert client.stat()[0] == 1
            client.quit()

    def test_refuses_another_password_without_a_growing_delay(self, dovecot: Dovecot) -> None:
        began = time.monotonic()
        for _ in range(4):
            with (
                IMAPClient("localhost", dovecot.imap_port, ssl=False) as client,
                pytest.raises(LoginError),
            ):
                client.login("mallory", "wrong")
        assert time.monotonic() - began < 8

    def test_is_not_trusted_by_default(self, dovecot: Dovecot) -> None:
        with pytest.raises(ssl.SSLCertVerificationError):
            IMAPClient("localhost", dovecot.imaps_port, ssl=True)

    def test_numbers_mail_in_the_order_of_delivery(self, dovecot: Dovecot, test_ca: TestCA) -> None:
        user = new_user()
        for number in range(300):
            dovecot.deliver(user, MAIL % b"%d" % number)
        with imap(dovecot, test_ca, user) as client:
            client.select_folder("INBOX", readonly=True)
            found = client.fetch(client.search(), ["BODY.PEEK[HEADER.FIELDS (SUBJECT)]"])
        subjects = [
            int(value[b"BODY[HEADER.FIELDS (SUBJECT)]"].split()[1])
            for _, value in sorted(found.items())
        ]
        assert subjects == list(range(300))

    def test_has_only_the_folders_that_were_made(self, dovecot: Dovecot, test_ca: TestCA) -> None:
        user = new_user()
        with pytest.raises(FileNotFoundError):
            dovecot.deliver(user, MAIL % b"one", "Projects/v1.2")
        dovecot.create_folder(user, "Projects/v1.2 Größe & Co")
        dovecot.create_folder(user, "Sent")
        dovecot.deliver(user, MAIL % b"one", "Projects/v1.2 Größe & Co")
        with imap(dovecot, test_ca, user) as client:
            status = client.folder_status("Projects/v1.2 Größe & Co", ["MESSAGES"])
            assert status[b"MESSAGES"] == 1
            assert client.find_special_folder(b"\\Sent") == "Sent"
            assert not client.folder_exists("Trash")

    def test_announces_the_capabilities_asked_for(
        self, server_directory: Path, test_ca: TestCA
    ) -> None:
        plain = "IMAP4rev1 UIDPLUS"
        with (
            Dovecot(server_directory / "plain", test_ca.issue(), capabilities=plain) as server,
            imap(server, test_ca, new_user()) as client,
        ):
            assert set(client.capabilities()) == {b"IMAP4REV1", b"UIDPLUS"}

    def test_comes_back_after_a_crash(self, server_directory: Path, test_ca: TestCA) -> None:
        user = new_user()
        with Dovecot(server_directory / "crash", test_ca.wrong_host(), password="p") as server:
            server.deliver(user, MAIL % b"one")
            server.kill()
            assert not greets(server.imap_port)
            server.start()
            server.restart()
            with IMAPClient("localhost", server.imap_port, ssl=False) as client:
                client.login(user, "p")
                assert client.folder_status("INBOX", ["MESSAGES"])[b"MESSAGES"] == 1
            with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
                IMAPClient(
                    "localhost", server.imaps_port, ssl=True, ssl_context=test_ca.client_context()
                )


class TestPostfix:
    def test_delivers_what_came_by_starttls(
        self, postfix: Postfix, dovecot: Dovecot, test_ca: TestCA
    ) -> None:
        user = new_user()
        with smtplib.SMTP("localhost", postfix.smtp_port) as client:
            client.starttls(context=test_ca.client_context())
            client.login(new_user(), dovecot.password)
            assert client.sendmail("a@example.org", [user], MAIL % b"by starttls") == {}
        wait_until(lambda: len(arrived(dovecot, user)) == 1)
        with imap(dovecot, test_ca, user) as reader:
            reader.select_folder("INBOX", readonly=True)
            (fetched,) = reader.fetch(reader.search(), ["BODY.PEEK[]"]).values()
        assert b"Subject: by starttls" in fetched[b"BODY[]"]

    def test_delivers_what_came_by_implicit_tls(
        self, postfix: Postfix, dovecot: Dovecot, test_ca: TestCA
    ) -> None:
        user = new_user()
        context = test_ca.client_context()
        with smtplib.SMTP_SSL("localhost", postfix.smtps_port, context=context) as client:
            client.sendmail("a@example.org", [user], MAIL % b"by tls")
        wait_until(lambda: len(arrived(dovecot, user)) == 1)
        assert b"Subject: by tls" in arrived(dovecot, user)[0].read_bytes()

    def test_refuses_puts_off_and_returns_on_request(
        self, postfix: Postfix, dovecot: Dovecot
    ) -> None:
        sender, user = new_user(), new_user()
        recipients = [user, "x@reject.test", "x@defer.test", "x@bounce.test"]
        with smtplib.SMTP("localhost", postfix.smtp_port) as client:
            refused = client.sendmail(sender, recipients, MAIL % b"four")
        assert {name: reply[0] for name, reply in refused.items()} == {
            "x@reject.test": 550,
            "x@defer.test": 451,
        }
        wait_until(lambda: len(arrived(dovecot, user)) == 1 and bool(arrived(dovecot, sender)))
        assert b"x@bounce.test" in arrived(dovecot, sender)[0].read_bytes()

    def test_can_demand_a_login(
        self, server_directory: Path, dovecot: Dovecot, test_ca: TestCA
    ) -> None:
        with (
            Postfix(
                server_directory / "login",
                test_ca.issue(),
                lmtp_port=dovecot.lmtp_port,
                auth_port=dovecot.auth_port,
                require_auth=True,
            ) as server,
            smtplib.SMTP("localhost", server.smtp_port) as client,
        ):
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                client.sendmail("a@example.org", [new_user()], MAIL % b"one")
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login("someone", "wrong")
            client.login("someone", dovecot.password)
            client.sendmail("a@example.org", [new_user()], MAIL % b"one")

    def test_keeps_its_queue_over_a_crash(
        self, server_directory: Path, dovecot: Dovecot, test_ca: TestCA
    ) -> None:
        user = new_user()
        broken = free_port()
        with Postfix(server_directory / "queue", test_ca.issue(), lmtp_port=broken) as server:
            with smtplib.SMTP("localhost", server.smtp_port) as client:
                client.sendmail("a@example.org", [user], MAIL % b"held")
            wait_until(lambda: '"queue_name": "deferred"' in server.queue())
            server.kill()
            server.lmtp_port = dovecot.lmtp_port
            server.start()
            server.flush()
            wait_until(lambda: len(arrived(dovecot, user)) == 1)
