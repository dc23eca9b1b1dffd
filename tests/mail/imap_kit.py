"""What the IMAP tests share: servers of their own, users nobody else has, caught errors."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from activities.mail.imap import ImapConnector, ImapMailbox
from activities.mail.imap_wire import Wire
from activities.ports import Endpoint
from models.account import LoginMethod, Security
from models.errors import ConnectorError
from tools.servers.ca import Certificate, TestCA
from tools.servers.dovecot import Dovecot


@contextmanager
def running_dovecot(
    ca: TestCA,
    *,
    certificate: Certificate | None = None,
    password: str = "secret",
    capabilities: str | None = None,
    extra: str = "",
) -> Iterator[Dovecot]:
    """Start a Dovecot that differs from the suite's."""
    # Its sockets need a short path, its users must be able to enter it.
    directory = Path(tempfile.mkdtemp(prefix="ec-", dir="/tmp"))
    directory.chmod(0o755)
    try:
        with Dovecot(
            directory,
            certificate or ca.issue(),
            password=password,
            capabilities=capabilities,
            extra=extra,
        ) as server:
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def new_user() -> str:
    return f"u{uuid.uuid4().hex[:12]}"


def endpoint(server: Dovecot, user: str, security: Security = Security.NONE) -> Endpoint:
    return Endpoint(
        host="localhost",
        port=server.imaps_port if security is Security.TLS else server.imap_port,
        security=security,
        login=LoginMethod.BASIC,
        username=user,
        password=SecretStr(server.password),
        timeout=timedelta(seconds=10),
        check_identity=True,
    )


def raw(subject: str, size: int = 0) -> bytes:
    head = f"From: a@mail.test\r\nSubject: {subject}\r\nMessage-ID: <{subject}@mail.test>\r\n\r\n"
    return head.encode() + b"x" * size + b"\r\n"


def subject_of(content: bytes) -> str:
    return content.split(b"Subject: ")[1].split(b"\r\n")[0].decode()


class User:
    """A user of a Dovecot; ``mailbox`` opens connections that end with ``stack``."""

    def __init__(self, server: Dovecot, stack: ExitStack) -> None:
        self.name = new_user()
        self.server = server
        self.endpoint = endpoint(server, self.name)
        self._stack = stack

    def deliver(self, *subjects: str, folder: str = "INBOX") -> None:
        for subject in subjects:
            self.server.deliver(self.name, raw(subject), folder)

    def mailbox(self, folder: str | None = None, *, read_only: bool = False) -> ImapMailbox:
        mailbox = self._stack.enter_context(ImapConnector().connect(self.endpoint))
        assert isinstance(mailbox, ImapMailbox)
        if folder is not None:
            mailbox.open(folder, read_only=read_only)
        return mailbox

    def subjects(self, folder: str = "INBOX") -> list[str]:
        mailbox = self.mailbox(folder, read_only=True)
        return [subject_of(m.raw) for m in mailbox.fetch(mailbox.uids([(1, 2**32 - 1)]))]


def error_of(
    call: Callable[..., object], *args: object, **options: object
) -> ConnectorError | None:
    """Return the error that ``call`` ends with, if any."""
    try:
        call(*args, **options)
    except ConnectorError as error:
        return error
    return None


def failure_of(call: Callable[..., object], *args: object, **options: object) -> ConnectorError:
    """Return the error that ``call`` must end with."""
    error = error_of(call, *args, **options)
    assert error is not None, "no error"
    return error


def connect_failure(given: Endpoint) -> ConnectorError:
    def connect() -> None:
        with ImapConnector().connect(given):
            pass

    return failure_of(connect)


# --- Fixtures

REV1 = "IMAP4rev1 SASL-IR LITERAL+ UIDPLUS ESEARCH LIST-EXTENDED SPECIAL-USE"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def user(dovecot: Dovecot, stack: ExitStack) -> User:
    return User(dovecot, stack)


@pytest.fixture(scope="session")
def without_move(test_ca: TestCA) -> Iterator[Dovecot]:
    with running_dovecot(test_ca, capabilities=REV1) as server:
        yield server


@pytest.fixture(scope="session")
def minimal(test_ca: TestCA) -> Iterator[Dovecot]:
    with running_dovecot(test_ca, capabilities="IMAP4rev1") as server:
        yield server


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every command line that leaves."""
    lines: list[bytes] = []
    original = Wire.send

    def send(self: Wire, data: bytes) -> None:
        lines.append(data)
        original(self, data)

    monkeypatch.setattr(Wire, "send", send)
    return lines
