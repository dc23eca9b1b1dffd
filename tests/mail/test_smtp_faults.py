"""Every stage of a transaction fails in every way: the phase and the type must tell the truth."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from activities.mail.smtp import SmtpClient
from activities.ports import Endpoint, Reply, SmtpFailure
from models.account import Security
from models.delivery import Phase
from models.errors import ErrorType
from tests.mail.smtp_kit import MAIL, PATIENCE, RCPT, SENDER, basic, deliver, endpoint, failure_of
from tests.smtp_connection import EXTENSIONS, REFUSALS, WAYS
from tests.smtp_server import Fault, SmtpServer

LIMIT = timedelta(seconds=0.4)
LARGE = MAIL + (b"x" * 70 + b"\r\n") * 400_000  # more than the sockets' buffers take

PHASES = {
    "connect": Phase.BANNER,
    "banner": Phase.BANNER,
    "ehlo": Phase.EHLO,
    "starttls": Phase.STARTTLS,
    "auth": Phase.AUTH,
    "mail": Phase.MAIL,
    "rcpt": Phase.RCPT,
    "data": Phase.DATA,
    "body": Phase.BODY,
    "before_dot": Phase.BODY,
    "after_dot": Phase.REPLY,
    "reply": Phase.REPLY,
}
BY_WAY = {
    "rst": ErrorType.CONNECTION_LOST,
    "fin": ErrorType.CONNECTION_LOST,
    "hang": ErrorType.CONNECTION_TIMED_OUT,
    "garbage": ErrorType.PROTOCOL_VIOLATION,
    "4xx": ErrorType.SERVER_UNAVAILABLE,
    "5xx": ErrorType.SERVER_REFUSED,
}
BY_STAGE = {
    ("starttls", "5xx"): ErrorType.TLS_UNAVAILABLE,
    ("auth", "5xx"): ErrorType.CREDENTIALS_REJECTED,
    ("mail", "5xx"): ErrorType.SENDER_REFUSED,
}
MODES = {
    "plain": (Security.NONE, EXTENSIONS[1:]),
    "pipelining": (Security.NONE, EXTENSIONS),
    "starttls": (Security.STARTTLS, EXTENSIONS),
    "tls": (Security.TLS, EXTENSIONS),
}
CELLS = [
    (mode, stage, way)
    for mode, (security, _) in MODES.items()
    for stage in REFUSALS
    for way in WAYS
    if stage != "tls" and (stage != "starttls" or security is Security.STARTTLS)
]


@pytest.fixture(scope="module")
def ca(tmp_path_factory) -> tuple[ssl.SSLContext, str]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return context, str(path)


async def attempt(target: Endpoint, content: bytes) -> tuple[Phase, SmtpFailure | Reply | None]:
    """One mail; waits a moment before the dot, as committing the intent to a database does."""
    session, failure = None, None
    try:
        async with SmtpClient().session(target) as session:
            replies = await session.envelope(SENDER, [RCPT], len(content))
            if not replies[RCPT].accepted:
                return Phase.RCPT, replies[RCPT]
            await session.body(content)
            await asyncio.sleep(0.1)
            reply = await session.end_of_data(LIMIT)
    except SmtpFailure as exc:
        failure = exc
    if failure is not None:
        assert session is None or session.phase is failure.phase
        return failure.phase, failure
    assert session is not None
    return session.phase, reply


@pytest.mark.parametrize(("mode", "stage", "way"), CELLS)
async def test_every_stage_in_every_way(mode, stage, way, ca):
    security, extensions = MODES[mode]
    changes: dict[str, Any] = {"security": security, "ca_file": ca[1], "timeout": LIMIT}
    options: dict[str, Any] = {"extensions": extensions, "auth": ("bender", "bite-my-shiny")}
    if security is not Security.NONE:
        options |= {"tls": ca[0], "implicit_tls": security is Security.TLS}
    content = LARGE if (stage, way) == ("body", "hang") else MAIL
    async with SmtpServer(faults=[Fault(stage, way)], **options) as server:
        async with asyncio.timeout(5):
            phase, result = await attempt(endpoint(server.port, **basic(), **changes), content)
        taken = len(server.accepted)

    if stage == "quit":
        assert (phase, taken) == (Phase.DONE, 1)
        return
    # The server's truth: it never has a mail whose phase says it cannot have one.
    assert taken == (stage == "reply" and way not in ("4xx", "5xx"))
    if stage in ("rcpt", "after_dot", "reply") and way in ("4xx", "5xx"):
        assert isinstance(result, Reply)
        assert result.temporary is (way == "4xx")
        assert not result.accepted
        assert phase is (Phase.RCPT if stage == "rcpt" else Phase.DONE)
        return
    expected = BY_STAGE.get((stage, way), BY_WAY[way])
    expected_phase = PHASES[stage]
    if (stage, way) == ("before_dot", "hang"):
        expected_phase = Phase.REPLY  # a server that hangs looks like one that listens
    if mode == "tls" and stage == "connect":
        expected_phase = Phase.CONNECT
        if way in ("4xx", "5xx"):  # in clear, on a TLS port
            expected = ErrorType.PROTOCOL_VIOLATION
    assert isinstance(result, SmtpFailure)
    assert (result.type, phase) == (expected, expected_phase)
    assert result.temporary is (way != "5xx" or expected is ErrorType.PROTOCOL_VIOLATION)
    assert f"127.0.0.1:{server.port}" in result.message
    assert (result.reply is not None) is (
        way in ("4xx", "5xx") and expected is not ErrorType.PROTOCOL_VIOLATION
    )


@pytest.mark.parametrize("way", ["rst", "fin"])
async def test_cut_amidst_a_large_body(way):
    async with SmtpServer(faults=[Fault("body", way)]) as server:
        phase, result = await attempt(endpoint(server.port, timeout=timedelta(seconds=5)), LARGE)
    assert isinstance(result, SmtpFailure)
    assert (result.type, phase) == (ErrorType.CONNECTION_LOST, Phase.BODY)


@pytest.mark.parametrize(
    ("early", "type_"),
    [
        ("552 5.3.4 too big", ErrorType.MESSAGE_TOO_LARGE),
        ("452 4.3.1 no space", ErrorType.SERVER_UNAVAILABLE),
        ("250 2.0.0 I like it already", ErrorType.PROTOCOL_VIOLATION),
    ],
)
async def test_a_verdict_before_the_dot_is_none_of_acceptance(early, type_, monkeypatch):
    monkeypatch.setitem(REFUSALS, "body", (early, early))
    for content in (MAIL, LARGE):
        async with SmtpServer(faults=[Fault("body", "5xx")]) as server:
            target = endpoint(server.port, timeout=timedelta(seconds=5))
            phase, result = await attempt(target, content)
        assert isinstance(result, SmtpFailure)
        assert (result.type, phase) == (type_, Phase.BODY)
        assert not server.accepted


async def test_nobody_listens():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    for host in ("127.0.0.1", "localhost"):
        failure = await failure_of(endpoint(port, host=host))
        assert (failure.type, failure.phase) == (ErrorType.CONNECTION_FAILED, Phase.CONNECT)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 64 + ".example"])
async def test_host_that_does_not_exist(host):
    failure = await failure_of(endpoint(25, host=host, timeout=timedelta(seconds=20)))
    assert (failure.type, failure.phase) == (ErrorType.HOST_NOT_FOUND, Phase.CONNECT)
    assert failure.temporary


async def test_a_backlog_that_is_full_times_out():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        target = endpoint(deaf.getsockname()[1], timeout=timedelta(seconds=0.2))
        failures = await asyncio.gather(*(failure_of(target) for _ in range(5)))
    assert {failure.type for failure in failures} == {ErrorType.CONNECTION_TIMED_OUT}
    assert {failure.phase for failure in failures} <= {Phase.CONNECT, Phase.BANNER}


async def test_a_kept_session_notices_that_the_server_went_away():
    async with SmtpServer() as server:
        async with SmtpClient().session(endpoint(server.port)) as session:
            await session.envelope(SENDER, [RCPT], len(MAIL))
            await session.body(MAIL)
            await session.end_of_data(PATIENCE)
            server.faults.append(Fault("mail", "fin"))
            with pytest.raises(SmtpFailure) as caught:
                await session.envelope(SENDER, [RCPT], len(MAIL))
            assert (caught.value.type, session.phase) == (ErrorType.CONNECTION_LOST, Phase.MAIL)
            assert not session.connected
        assert len(server.accepted) == 1


@pytest.mark.parametrize("extensions", [EXTENSIONS, EXTENSIONS[1:]])
async def test_closing_amidst_the_recipients(extensions):
    closing: dict[str, int | str] = {"third@x.example": "421 4.3.2 closing"}
    async with SmtpServer(recipients=closing, extensions=extensions) as server:
        failure = await failure_of(
            endpoint(server.port), recipients=("a@x.example", "b@x.example", *closing, RCPT)
        )
        assert (failure.type, failure.phase) == (ErrorType.SERVER_UNAVAILABLE, Phase.RCPT)
        assert not server.accepted


async def test_patience_ends_the_wait_for_the_verdict():
    async with SmtpServer(faults=[Fault("reply", "hang")]) as server:
        target = replace(endpoint(server.port), timeout=timedelta(seconds=20))
        failure = await failure_of(target)
        assert (failure.type, failure.phase) == (ErrorType.CONNECTION_TIMED_OUT, Phase.REPLY)
        assert len(server.accepted) == 1


async def test_patience_is_longer_than_the_timeout_of_a_command():
    async with SmtpServer() as server:
        target = endpoint(server.port, timeout=LIMIT)
        async with SmtpClient().session(target) as session:
            await session.envelope(SENDER, [RCPT], len(MAIL))
            await session.body(MAIL)
            server.delay_ms = (800, 800)
            assert (await session.end_of_data(timedelta(seconds=5))).accepted


async def test_calls_out_of_order_are_refused_without_a_word():
    async with SmtpServer() as server:
        async with SmtpClient().session(endpoint(server.port)) as session:
            for call in (session.end_of_data(PATIENCE), session.body(MAIL)):
                with pytest.raises(SmtpFailure) as caught:
                    await call
                assert caught.value.type is ErrorType.INTERNAL
            await session.envelope(SENDER, [RCPT], len(MAIL))
            await session.body(MAIL)
            for later in (session.reset(), session.body(MAIL), session.envelope(SENDER, [], 1)):
                with pytest.raises(SmtpFailure):
                    await later
            assert (await session.end_of_data(PATIENCE)).accepted
        assert [mail.content for mail in server.accepted] == [MAIL]


async def test_a_server_that_delays_every_reply_is_fine():
    async with SmtpServer(delay_ms=(20, 60)) as server:
        assert (await deliver(endpoint(server.port))).accepted
