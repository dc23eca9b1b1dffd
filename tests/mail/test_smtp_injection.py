"""What would end a mail early or add a command to it never reaches the wire (S1, S2)."""

from __future__ import annotations

import random
import re
from datetime import timedelta

import pytest

from activities.mail.smtp import SmtpClient
from activities.ports import SmtpFailure
from models.errors import ErrorType
from tests.mail.smtp_kit import (
    RCPT,
    SENDER,
    basic,
    deliver,
    endpoint,
    failure_of,
)
from tests.smtp_server import SmtpServer

CONTROLS = [chr(i) for i in range(0x20)] + ["\x7f", "\x80", "\x85", "\x9f", "\u2028", "\u2029"]


SMUGGLING = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
    b"\r\0\n.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\0\n",
    b"\r\n.\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"\r\r\n.\r\r\n",
    b"\x85.\x85",
    b"\n\r.\n\r",
]
SECOND = b"MAIL FROM:<admin@x.example>\r\nRCPT TO:<victim@x.example>\r\nDATA\r\nforged\r\n.\r\n"


def bare_line_ends(raw: bytes | bytearray) -> list[bytes]:
    return re.findall(rb"\r(?!\n)|(?<!\r)\n|\0", raw)


@pytest.mark.parametrize("trick", SMUGGLING)
@pytest.mark.parametrize("where", ["body", "header", "start", "end"])
async def test_smuggling(trick, where):
    content = {
        "body": b"Subject: x\r\n\r\nbefore" + trick + SECOND + b"after\r\n",
        "header": b"Subject: x" + trick + SECOND + b"\r\n\r\nbody\r\n",
        "start": trick + SECOND,
        "end": b"Subject: x\r\n\r\nbefore" + trick,
    }[where]
    async with SmtpServer() as server:
        await deliver(endpoint(server.port), content)
        assert len(server.accepted) == 1
        assert not bare_line_ends(server.connections[0].raw)
        assert server.connections[0].commands[-1] == "QUIT"
        assert len(server.connections[0].commands) == 5


@pytest.mark.timeout(300)  # 40,000 round trips
async def test_ten_thousand_generated_bodies():
    """S1: over one connection, each content arrives as one mail and no bare line end is seen."""
    pieces = [*SMUGGLING, SECOND, b"a", b".", b"..", b"\r\n"]
    rng = random.Random(20231218)
    async with SmtpServer() as server:
        target = endpoint(server.port, timeout=timedelta(seconds=20))
        async with SmtpClient().session(target) as session:
            for number in range(1, 10_001):
                content = b"".join(rng.choices(pieces, k=rng.randint(1, 9)))
                await session.envelope(SENDER, [RCPT], len(content))
                await session.body(content)
                assert (await session.end_of_data(timedelta(seconds=20))).accepted
                assert len(server.accepted) == number
        assert not bare_line_ends(server.connections[0].raw)
        assert len(server.connections[0].commands) == 2 + 3 * 10_000


@pytest.mark.parametrize("bad", [*CONTROLS, " ", "<", ">", "\u3000", "\ud800", "\xa0"])
async def test_addresses_that_would_change_the_command(bad):
    async with SmtpServer() as server:
        async with SmtpClient().session(endpoint(server.port)) as session:
            for sender, rcpt, name in (
                (f"a{bad}b@x.example", RCPT, "sender"),
                (SENDER, f"a{bad}b@x.example", "recipients[1]"),
                (SENDER, f"a@x{bad}.example", "recipients[1]"),
                (SENDER, f"a@x.example{bad}", "recipients[1]"),
                (SENDER, f"a@x.example>{bad}\r\nRCPT TO:<evil@x.example", "recipients[1]"),
            ):
                with pytest.raises(SmtpFailure) as caught:
                    await session.envelope(sender, [RCPT, rcpt], 1)
                assert (caught.value.type, caught.value.field) == (ErrorType.INVALID_INPUT, name)
        assert server.connections[0].commands == ["EHLO [127.0.0.1]", "QUIT"]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "x",
        "@x.example",
        "a@",
        "@evil.example,@b.example:c@d.example",
        "a@b@c.example",
        "a,b@x.example",
        "a;b@x.example",
        "a:b@x.example",
        '"a@x.example',
        '"a b@x.example',
        '"a" b@x.example',
        '"a\tb"@x.example',
        '"a b>"@x.example',
        '"a b"@x example',
        'a"b"@x.example',
        "a@ex\uff1eample.example",
        "a@x..例え",
        "a" * 70 + "@" + "x" * 300,
    ],
)
async def test_forms_that_servers_could_misread(address):
    async with SmtpServer() as server:
        assert (
            await failure_of(endpoint(server.port), recipients=(address,))
        ).type is ErrorType.INVALID_INPUT
        assert server.connections[0].commands == ["EHLO [127.0.0.1]", "QUIT"]


@pytest.mark.parametrize("bad", CONTROLS)
@pytest.mark.parametrize("name", ["username", "password", "host"])
async def test_endpoints_are_refused_before_connecting(bad, name):
    async with SmtpServer(auth=("a", "b")) as server:
        changes = basic(f"a{bad}b" if name == "username" else "a", f"b{bad}" * (name == "password"))
        if name == "host":
            changes["host"] = f"127.0.0.1{bad}"
        failure = await failure_of(endpoint(server.port, **changes))
        assert (failure.type, failure.field) == (ErrorType.INVALID_INPUT, name)
        assert not server.connections


@pytest.mark.parametrize("bad", [*CONTROLS, " ", "<", ">", "", "ü", "a b", "x" * 256])
def test_ehlo_names_are_refused(bad):
    with pytest.raises(SmtpFailure) as caught:
        SmtpClient(f"mail{bad}.example" if len(bad) == 1 else bad)
    assert caught.value.type is ErrorType.INVALID_INPUT
