"""Sending: transactions and envelopes. Login, injection, faults and TLS have files of their own."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import aiosmtpd.smtp
import pytest

from activities.mail.headers import header_is_ascii
from activities.mail.smtp import SmtpClient
from activities.ports import SmtpFailure
from models.delivery import Phase
from models.errors import ErrorType
from tests.mail.smtp_kit import (
    MAIL,
    PATIENCE,
    RCPT,
    SENDER,
    deliver,
    endpoint,
    failure_of,
    transact,
)
from tests.smtp_server import SmtpServer

# --- a mail, and many -----------------------------------------------------------------------------


async def test_a_mail_arrives_as_it_is_and_quit_ends_it():
    async with SmtpServer() as server:
        async with SmtpClient().session(endpoint(server.port)) as session:
            phases = [session.phase]
            assert {"SIZE", "8BITMIME", "SMTPUTF8"} <= session.capabilities
            replies = await session.envelope(SENDER, [RCPT], len(MAIL))
            phases.append(session.phase)
            assert replies[RCPT].accepted
            await session.body(MAIL)
            phases.append(session.phase)
            assert not server.accepted
            reply = await session.end_of_data(PATIENCE)
            assert (reply.code, reply.enhanced_code, reply.text) == (250, "2.0.0", "accepted")
            phases.append(session.phase)
        assert phases == [Phase.AUTH, Phase.RCPT, Phase.BODY, Phase.DONE]
        connection = server.connections[0]
        assert [mail.content for mail in server.accepted] == [MAIL]
        assert server.accepted[0].message_id == "<1@test.example>"
        assert connection.commands == [
            "EHLO [127.0.0.1]",
            f"MAIL FROM:<{SENDER}> SIZE={len(MAIL)}",
            f"RCPT TO:<{RCPT}>",
            "DATA",
            "QUIT",
        ]


async def test_one_connection_carries_many_mails_without_rset():
    async with SmtpServer() as server:
        async with SmtpClient().session(endpoint(server.port)) as session:
            for number in range(20):
                await transact(session, b"X: %d\r\n\r\n.\r\n" % number)
                assert session.connected
        assert len(server.connections) == 1
        assert [m.content for m in server.accepted] == [
            b"X: %d\r\n\r\n.\r\n" % i for i in range(20)
        ]
        assert "RSET" not in server.connections[0].commands


async def test_partial_recipients_each_have_their_reply():
    refused: dict[str, int | str] = {
        "gone@x.example": 550,
        "grey@x.example": "451 4.7.1 come back in 90 seconds",
    }
    async with SmtpServer(recipients=refused) as server:
        async with SmtpClient().session(endpoint(server.port)) as session:
            replies = await session.envelope(SENDER, [*refused, RCPT, RCPT], len(MAIL))
            await session.body(MAIL)
            assert (await session.end_of_data(PATIENCE)).accepted
        assert [replies[a].code for a in (*refused, RCPT)] == [550, 451, 250]
        assert replies["gone@x.example"].enhanced_code == "5.1.5"
        assert replies["grey@x.example"].temporary
        assert replies["grey@x.example"].retry_after == timedelta(seconds=90)
        assert [mail.rcpts for mail in server.accepted] == [[RCPT]]


async def test_no_recipient_accepted_no_data():
    async with SmtpServer(recipients={RCPT: 550}) as server:
        async with SmtpClient().session(endpoint(server.port)) as session:
            assert not (await session.envelope(SENDER, [RCPT], 1))[RCPT].accepted
            with pytest.raises(SmtpFailure) as caught:
                await session.body(MAIL)
            assert caught.value.type is ErrorType.INTERNAL
            await session.reset()
            assert session.phase is Phase.AUTH
            assert (await transact(session, recipients=("other@x.example",))).accepted
        assert server.connections[0].commands.count("DATA") == 1
        assert server.connections[0].ended == "quit"


async def test_an_envelope_left_open_is_reset_by_the_next_one():
    async with SmtpServer() as server:
        async with SmtpClient().session(endpoint(server.port)) as session:
            await session.envelope(SENDER, ["first@x.example"], 1)
            await transact(session)
        assert [mail.rcpts for mail in server.accepted] == [[RCPT]]
        assert server.connections[0].commands.count("RSET") == 1


async def test_leaving_amidst_a_transaction_drops_the_connection():
    async with SmtpServer() as server:
        async with SmtpClient().session(endpoint(server.port)) as session:
            await session.envelope(SENDER, [RCPT], 1)
            await session.body(MAIL)
        await asyncio.sleep(0.05)
        assert server.connections[0].ended == "eof"
        assert not server.accepted


async def test_a_refused_sender_leaves_the_session_usable():
    async with SmtpServer() as server:
        server.replies["MAIL"] = "553 5.7.1 not yours"
        async with SmtpClient().session(endpoint(server.port)) as session:
            with pytest.raises(SmtpFailure) as caught:
                await session.envelope(SENDER, [RCPT], 1)
            failure = caught.value
            assert (failure.type, failure.phase) == (ErrorType.SENDER_REFUSED, Phase.MAIL)
            assert failure.reply is not None
            assert failure.detail == {"phase": "mail", "code": 553, "enhanced_code": "5.7.1"}
            for part in (f"127.0.0.1:{server.port}", "MAIL", "553 5.7.1 not yours", "Check"):
                assert part in failure.message
            server.replies.clear()
            assert (await transact(session)).accepted


async def test_null_sender_and_no_extensions_after_helo():
    async with SmtpServer(extensions=None) as server:
        async with SmtpClient("mail.test.example").session(endpoint(server.port)) as session:
            assert session.capabilities == frozenset()
            assert (await transact(session, sender="")).accepted
        assert server.connections[0].commands[:3] == [
            "EHLO mail.test.example",
            "HELO mail.test.example",
            "MAIL FROM:<>",
        ]


async def test_quit_never_waits_longer_than_a_second():
    loop = asyncio.get_running_loop()
    async with SmtpServer() as server:
        server.replies["QUIT"] = ""  # an empty line is no reply: the client keeps waiting
        async with SmtpClient().session(
            endpoint(server.port, timeout=timedelta(seconds=20))
        ) as session:
            await transact(session)
            begin = loop.time()
        assert loop.time() - begin < 1.5


async def test_cancelling_closes_the_socket_at_once():
    async with SmtpServer(delay_ms=(0, 0)) as server:
        server.faults.clear()

        async def wait_for_the_verdict() -> None:
            async with SmtpClient().session(endpoint(server.port)) as session:
                await session.envelope(SENDER, [RCPT], 1)
                await session.body(MAIL)
                server.delay_ms = (5000, 5000)
                await session.end_of_data(timedelta(minutes=10))

        task = asyncio.create_task(wait_for_the_verdict())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.05)
        assert "QUIT" not in server.connections[0].commands


async def test_concurrent_sessions_keep_their_mails_apart():
    async with SmtpServer(delay_ms=(0, 3)) as server:
        mails = [b"Message-ID: <%d@x>\r\n\r\n%d\r\n" % (i, i) for i in range(30)]
        await asyncio.gather(
            *(deliver(endpoint(server.port, timeout=timedelta(seconds=10)), mail) for mail in mails)
        )
        assert sorted(mail.content for mail in server.accepted) == sorted(mails)


async def test_large_mail_streams_whole():
    content = b"Message-ID: <big@x>\r\n\r\n" + (b"." * 70 + b"\r\n") * 150_000
    async with SmtpServer() as server:
        slow = endpoint(server.port, timeout=timedelta(seconds=20))
        async with SmtpClient().session(slow) as session:
            await session.envelope(SENDER, [RCPT], len(content))
            await session.body(content)
            assert (await session.end_of_data(timedelta(seconds=20))).accepted
        assert server.accepted[0].content == content


async def test_against_aiosmtpd():
    class Handler:
        def __init__(self) -> None:
            self.mails: list[tuple[str, list[str], bytes]] = []

        async def handle_DATA(self, _server, _session, envelope) -> str:  # noqa: N802
            self.mails.append((envelope.mail_from, envelope.rcpt_tos, envelope.original_content))
            return "250 taken"

    handler = Handler()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: aiosmtpd.smtp.SMTP(handler, loop=loop, enable_SMTPUTF8=True), "127.0.0.1", 0
    )
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        content = b"Subject: x\r\n\r\n.\r\n..\r\nend"
        assert (await deliver(endpoint(port), content)).text == "taken"
    assert handler.mails == [(SENDER, [RCPT], content + b"\r\n")]


# --- parameters of MAIL ---------------------------------------------------------------------------


async def test_too_large_is_known_before_mail():
    async with SmtpServer(extensions=("SIZE 1000",)) as server:
        failure = await failure_of(endpoint(server.port), b"x" * 1001)
        assert (failure.type, failure.phase) == (ErrorType.MESSAGE_TOO_LARGE, Phase.MAIL)
        assert not failure.temporary
        assert not any(c.startswith("MAIL") for c in server.connections[0].commands)
        assert (await deliver(endpoint(server.port), b"x" * 1000)).accepted


@pytest.mark.parametrize("size", ["SIZE", "SIZE 0", "SIZE x", "SIZE 99999999999999999999999"])
async def test_no_usable_limit_is_no_limit(size):
    async with SmtpServer(extensions=(size,)) as server:
        assert (await deliver(endpoint(server.port), b"x" * 1001)).accepted


async def test_international_addresses():
    async with SmtpServer() as server:
        await deliver(endpoint(server.port), recipients=("fry@straße.example",))
        await deliver(endpoint(server.port), recipients=("フライ@例え.example", "z@x.example"))
        commands = [c for connection in server.connections for c in connection.commands]
        assert "RCPT TO:<fry@xn--strae-oqa.example>" in commands
        assert "RCPT TO:<フライ@xn--r8jz45g.example>" in commands
        assert [" SMTPUTF8" in c for c in commands if c.startswith("MAIL")] == [False, True]


async def test_smtputf8_missing():
    async with SmtpServer(extensions=()) as server:
        failure = await failure_of(endpoint(server.port), recipients=("フライ@x.example",))
        assert failure.type is ErrorType.CAPABILITY_MISSING
        assert not any(c.startswith("MAIL") for c in server.connections[0].commands)
        assert (await deliver(endpoint(server.port), recipients=("fry@straße.example",))).accepted


UTF8_HEADER = "To: フライ@x.example\r\n\r\nhello\r\n".encode()
UTF8_BODY = "To: you@x.example\r\n\r\nGrüße\r\n".encode()


async def mail_line(
    content: bytes,
    *recipients: str,
    extensions: tuple[str, ...],
    sender: str = SENDER,
) -> str:
    """The MAIL command for a mail that arrived as it is."""
    async with SmtpServer(extensions=extensions) as server:
        async with SmtpClient().session(endpoint(server.port)) as session:
            await session.envelope(
                sender,
                recipients or [RCPT],
                len(content),
                ascii_only=content.isascii(),
                ascii_header=header_is_ascii(content),
            )
            await session.body(content)
            assert (await session.end_of_data(PATIENCE)).accepted
        assert server.accepted[0].content == content
        return next(c for c in server.connections[0].commands if c.startswith("MAIL"))


async def missing(
    content: bytes, *recipients: str, extensions: tuple[str, ...], sender: str = SENDER
) -> SmtpFailure:
    """The failure of a mail that this server can never take; it hears nothing of it."""
    async with SmtpServer(extensions=extensions) as server:
        async with SmtpClient().session(endpoint(server.port)) as session:
            with pytest.raises(SmtpFailure) as caught:
                await session.envelope(
                    sender,
                    recipients or [RCPT],
                    len(content),
                    ascii_only=content.isascii(),
                    ascii_header=header_is_ascii(content),
                )
            assert caught.value.type is ErrorType.CAPABILITY_MISSING
            assert not caught.value.temporary
            assert (await transact(session)).accepted
        assert sum(c.startswith("MAIL") for c in server.connections[0].commands) == 1
        return caught.value


@pytest.mark.parametrize(
    ("content", "recipient", "extensions", "parameters"),
    [
        (MAIL, RCPT, (), ""),
        (MAIL, RCPT, ("8BITMIME", "SMTPUTF8"), ""),
        (MAIL, "fry@straße.example", (), ""),
        (MAIL, "フライ@x.example", ("SMTPUTF8", "8BITMIME"), " SMTPUTF8"),
        (UTF8_BODY, RCPT, ("8BITMIME",), " BODY=8BITMIME"),
        (UTF8_BODY, RCPT, ("8BITMIME", "SMTPUTF8"), " BODY=8BITMIME"),
        (UTF8_BODY, RCPT, ("SMTPUTF8",), " BODY=8BITMIME"),
        (UTF8_BODY, "フライ@x.example", ("SMTPUTF8",), " SMTPUTF8 BODY=8BITMIME"),
        (UTF8_HEADER, RCPT, ("SMTPUTF8", "8BITMIME"), " SMTPUTF8 BODY=8BITMIME"),
    ],
)
async def test_only_what_a_mail_needs_is_asked_for(content, recipient, extensions, parameters):
    line = await mail_line(content, recipient, extensions=extensions)
    assert line == f"MAIL FROM:<{SENDER}>{parameters}"


@pytest.mark.parametrize(
    ("content", "recipient", "sender", "extensions", "name"),
    [
        (UTF8_BODY, RCPT, SENDER, (), "8BITMIME"),
        (UTF8_BODY, "フライ@x.example", SENDER, ("8BITMIME",), "SMTPUTF8"),
        (UTF8_HEADER, RCPT, SENDER, ("8BITMIME",), "SMTPUTF8"),
        (MAIL, "フライ@x.example", SENDER, ("8BITMIME",), "SMTPUTF8"),
        (MAIL, RCPT, "フライ@x.example", ("8BITMIME",), "SMTPUTF8"),
    ],
)
async def test_what_a_server_lacks_is_named(content, recipient, sender, extensions, name):
    failure = await missing(content, recipient, sender=sender, extensions=extensions)
    assert failure.phase is Phase.MAIL
    assert name in failure.message


async def test_an_unknown_header_counts_as_the_content_does():
    async with (
        SmtpServer(extensions=("8BITMIME",)) as server,
        SmtpClient().session(endpoint(server.port)) as session,
    ):
        with pytest.raises(SmtpFailure) as caught:
            await session.envelope(SENDER, [RCPT], 1, ascii_only=False)
        assert caught.value.type is ErrorType.CAPABILITY_MISSING


@pytest.mark.parametrize("extensions", [("PIPELINING",), ()])
async def test_one_international_address_does_not_keep_a_mail_from_the_others(extensions):
    other = "フライ@x.example"
    async with SmtpServer(extensions=extensions) as server:
        async with SmtpClient().session(endpoint(server.port)) as session:
            replies = await session.envelope(SENDER, [other, RCPT], len(MAIL))
            assert (replies[other].code, replies[other].enhanced_code) == (553, "5.6.7")
            assert "SMTPUTF8" in replies[other].text
            assert replies[RCPT].accepted
            await session.body(MAIL)
            assert (await session.end_of_data(PATIENCE)).accepted
        assert [mail.rcpts for mail in server.accepted] == [[RCPT]]


async def test_too_many_recipients_for_one_mail_come_with_the_next_one():
    codes: dict[str, int | str] = {
        "first@x.example": 250,
        "old@x.example": "552 too many recipients",
        "new@x.example": "452 4.5.3 too many recipients",
        "full@x.example": "552 5.2.2 mailbox full",
    }
    async with (
        SmtpServer(recipients=codes) as server,
        SmtpClient().session(endpoint(server.port)) as session,
    ):
        replies = await session.envelope(SENDER, list(codes), len(MAIL))
        assert [replies[a].code for a in codes] == [250, 452, 452, 552]
        assert replies["old@x.example"].temporary
        assert not replies["full@x.example"].temporary
        await session.reset()
        alone = await session.envelope(SENDER, ["old@x.example"], len(MAIL))
        assert alone["old@x.example"].code == 552  # nobody before it: no limit was reached
