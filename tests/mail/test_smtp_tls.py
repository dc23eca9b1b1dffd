"""TLS: whom we trust, and that nothing goes out in clear when TLS is asked for (S5, S20)."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from activities.mail.tls import client_context
from activities.ports import Endpoint
from models.account import Security
from models.delivery import Phase
from models.errors import ConnectorError, ErrorType
from tests.mail.smtp_kit import basic, deliver, endpoint, failure_of
from tests.smtp_server import SmtpServer

BOTH = pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])


@dataclass
class Pki:
    authority: trustme.CA
    ca_file: str

    def context(self, *names: str, **options: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names, **options).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    authority = trustme.CA()
    path = str(tmp_path_factory.mktemp("pki") / "ca.pem")
    authority.cert_pem.write_to_path(path)
    return Pki(authority, path)


def server_with(context: ssl.SSLContext, security: Security, **options: Any) -> SmtpServer:
    return SmtpServer(tls=context, implicit_tls=security is Security.TLS, **options)


def target(server: SmtpServer, security: Security, pki: Pki | None, **changes: Any) -> Endpoint:
    values = {"security": security, "ca_file": pki.ca_file if pki else None, **basic()}
    return endpoint(server.port, **(values | changes))


def nothing_leaked(server: SmtpServer) -> bool:
    """Whether neither a login nor a mail was even begun."""
    return not any(
        command.startswith(("AUTH", "MAIL", "RCPT", "DATA"))
        for connection in server.connections
        for command in connection.commands
    )


@BOTH
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_trusted_server_gets_login_and_mail(security, host, pki):
    async with server_with(
        pki.context("127.0.0.1", "localhost"), security, auth=("bender", "bite-my-shiny")
    ) as server:
        assert (await deliver(target(server, security, pki, host=host))).accepted
        connection = server.connections[0]
        assert connection.over_tls
        expected = ["EHLO", "AUTH", "MAIL", "RCPT", "DATA", "QUIT"]
        if security is Security.STARTTLS:
            expected = ["EHLO", "STARTTLS", *expected]
        assert [command.split()[0] for command in connection.commands] == expected
        # Within TLS what servers do best comes first.
        assert any(command.startswith("AUTH PLAIN ") for command in connection.commands)


@BOTH
async def test_a_certificate_for_another_host(security, pki):
    async with server_with(pki.context("other.example"), security, auth=("a", "b")) as server:
        failure = await failure_of(target(server, security, pki))
        assert failure.type is ErrorType.CERTIFICATE_REJECTED
        assert failure.phase is (Phase.CONNECT if security is Security.TLS else Phase.STARTTLS)
        assert not failure.temporary
        for part in (f"127.0.0.1:{server.port}", "IP address mismatch", "Use a host name that"):
            assert part in failure.message
        assert nothing_leaked(server)


@BOTH
async def test_an_unknown_authority(security, pki):
    async with server_with(pki.context("127.0.0.1"), security, auth=("a", "b")) as server:
        failure = await failure_of(target(server, security, None))
        assert failure.type is ErrorType.CERTIFICATE_REJECTED
        assert "ca_file" in failure.message
        assert nothing_leaked(server)


@BOTH
async def test_an_expired_certificate(security, pki):
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    context = pki.context("127.0.0.1", not_after=yesterday)
    async with server_with(context, security, auth=("a", "b")) as server:
        failure = await failure_of(target(server, security, pki))
        assert failure.type is ErrorType.CERTIFICATE_REJECTED
        assert "It has expired" in failure.message
        assert nothing_leaked(server)


@BOTH
async def test_a_self_signed_certificate(security, tmp_path, pki):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = trustme.CA()
    pem = tmp_path / "self.pem"
    authority.private_key_pem.write_to_path(str(pem))
    authority.cert_pem.write_to_path(str(pem), append=True)
    context.load_cert_chain(pem)
    async with server_with(context, security, auth=("a", "b")) as server:
        failure = await failure_of(target(server, security, pki))
        assert failure.type is ErrorType.CERTIFICATE_REJECTED
        assert "self-signed" in failure.message
        assert nothing_leaked(server)


def sha1_certificate(authority: trustme.CA, directory: Path) -> Path:
    """What trustme and cryptography refuse to make: a certificate signed with SHA-1."""
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    authority.private_key_pem.write_to_path(str(directory / "ca.key"))
    command = (
        "openssl req -x509 -sha1 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj /CN=x "
        "-addext subjectAltName=IP:127.0.0.1 -CA ca.pem -CAkey ca.key -keyout x.key -out x.pem"
    )
    subprocess.run(command.split(), cwd=directory, check=True, capture_output=True)
    pem = directory / "both.pem"
    pem.write_bytes((directory / "x.key").read_bytes() + (directory / "x.pem").read_bytes())
    return pem


@BOTH
async def test_a_sha1_signature(security, tmp_path, pki):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(sha1_certificate(pki.authority, tmp_path))
    async with server_with(context, security, auth=("a", "b")) as server:
        failure = await failure_of(target(server, security, pki))
        assert failure.type is ErrorType.CERTIFICATE_REJECTED
        assert "weak" in failure.message
        assert nothing_leaked(server)


@BOTH
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_tls_is_refused(security, version, pki):
    context = pki.context("127.0.0.1")
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with server_with(context, security, auth=("a", "b")) as server:
        failure = await failure_of(target(server, security, pki, check_identity=False))
        # asyncio's server closes without the alert that other servers send (see the next test).
        assert failure.type in (ErrorType.TLS_UNAVAILABLE, ErrorType.CONNECTION_LOST)
        assert nothing_leaked(server)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_tls_is_named_as_such(pki):
    context = pki.context("127.0.0.1")
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")

    def handshake(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, pytest.raises(ssl.SSLError):
            context.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(asyncio.to_thread(handshake, listener))
        old = endpoint(listener.getsockname()[1], security=Security.TLS, ca_file=pki.ca_file)
        failure = await failure_of(old)
        await task
    assert (failure.type, failure.phase) == (ErrorType.TLS_UNAVAILABLE, Phase.CONNECT)
    assert not failure.temporary


@BOTH
async def test_identity_check_off_still_encrypts(security, pki):
    async with server_with(
        pki.context("other.example"), security, auth=("bender", "bite-my-shiny")
    ) as server:
        assert (await deliver(target(server, security, None, check_identity=False))).accepted
        assert server.connections[0].over_tls


@pytest.mark.parametrize("extensions", [("SIZE",), None])
async def test_stripped_starttls_is_never_cleartext(extensions):
    """Whether the server lacks it or somebody between removed it: no login, no mail."""
    async with SmtpServer(extensions=extensions, auth=("a", "b")) as server:
        failure = await failure_of(target(server, Security.STARTTLS, None))
        assert (failure.type, failure.phase) == (ErrorType.TLS_UNAVAILABLE, Phase.STARTTLS)
        assert not failure.temporary
        assert nothing_leaked(server)


@pytest.mark.parametrize("extra", [b"250-evil\r\n250 AUTH PLAIN\r\n", b"250 ok\r\n", b"x" * 5000])
async def test_bytes_injected_before_tls_end_the_session(extra, pki):
    """CVE-2021-38371 and its like: a reply in clear must not answer an encrypted command."""
    async with server_with(
        pki.context("127.0.0.1"),
        Security.STARTTLS,
        after_starttls=extra,
        extensions=("X-REAL",),
        auth=("bender", "bite-my-shiny"),
    ) as server:
        failure = await failure_of(target(server, Security.STARTTLS, pki))
        # In a segment of its own it breaks the handshake.
        assert failure.type in (ErrorType.PROTOCOL_VIOLATION, ErrorType.CONNECTION_LOST)
        assert failure.phase is Phase.STARTTLS
        assert nothing_leaked(server)
        assert server.connections[0].commands.count("EHLO [127.0.0.1]") == 1
        assert not server.accepted


async def test_tls_against_a_port_that_speaks_in_clear():
    async with SmtpServer() as server:
        failure = await failure_of(target(server, Security.TLS, None))
        assert (failure.type, failure.phase) == (ErrorType.PROTOCOL_VIOLATION, Phase.CONNECT)
        assert "starttls" in failure.message


async def test_garbage_instead_of_a_handshake(pki):
    async with SmtpServer(extensions=("STARTTLS",)) as server:
        server.replies["STARTTLS"] = "220 go\r\nno\r\n" * 20
        failure = await failure_of(target(server, Security.STARTTLS, pki))
        assert failure.phase is Phase.STARTTLS
        assert failure.temporary
        assert nothing_leaked(server)


def test_contexts(pki, tmp_path):
    checked = client_context(True, pki.ca_file)
    assert checked is client_context(True, pki.ca_file)
    assert checked.check_hostname
    assert checked.verify_mode is ssl.CERT_REQUIRED
    assert checked.minimum_version is ssl.TLSVersion.TLSv1_2
    unchecked = client_context(False, None)
    assert not unchecked.check_hostname
    assert unchecked.verify_mode is ssl.CERT_NONE
    assert unchecked.minimum_version is ssl.TLSVersion.TLSv1_2

    changing = tmp_path / "ca.pem"
    changing.write_bytes(pki.authority.cert_pem.bytes())
    first = client_context(True, str(changing))
    changing.write_bytes(trustme.CA().cert_pem.bytes())
    assert client_context(True, str(changing)) is not first


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_ca_file_that_is_none(content, tmp_path):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConnectorError) as caught:
        client_context(True, str(path))
    assert (caught.value.type, caught.value.field) == (ErrorType.ACCOUNT_INCOMPLETE, "ca_file")
