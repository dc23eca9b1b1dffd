"""Asking for delivery status notifications (RFC 3461), on a server that offers them or does not."""

from __future__ import annotations

import pytest

from activities.mail.smtp import SmtpClient
from activities.mail.smtp_dsn import mail_parameters, rcpt_parameters, utf8_address, xtext
from activities.ports import DsnRequest
from models.delivery_status import Notify, ReturnContent
from tests.mail.smtp_kit import MAIL, PATIENCE, RCPT, SENDER, endpoint
from tests.smtp_connection import EXTENSIONS
from tests.smtp_server import SmtpServer

WITH_DSN = (*EXTENSIONS, "DSN")
EVERYTHING = DsnRequest(
    "0190b8a4-1", (Notify.SUCCESS, Notify.FAILURE, Notify.DELAY), ReturnContent.HEADERS
)


async def said(
    extensions: tuple[str, ...], dsn: DsnRequest | None, *recipients: str, sender: str = SENDER
) -> list[str]:
    """The MAIL and RCPT lines of a mail that arrived."""
    async with SmtpServer(extensions=extensions) as server:
        async with SmtpClient().session(endpoint(server.port)) as session:
            replies = await session.envelope(sender, recipients, len(MAIL), dsn=dsn)
            assert all(reply.accepted for reply in replies.values())
            await session.body(MAIL)
            assert (await session.end_of_data(PATIENCE)).accepted
        assert server.accepted[0].rcpts == list(recipients)
        return [c for c in server.connections[0].commands if c[:4] in ("MAIL", "RCPT")]


@pytest.mark.parametrize("extensions", [WITH_DSN, WITH_DSN[1:]], ids=["pipelined", "in turn"])
async def test_reports_are_asked_for(extensions):
    assert await said(extensions, EVERYTHING, RCPT, "a+b=c@x.example") == [
        f"MAIL FROM:<{SENDER}> SIZE={len(MAIL)} RET=HDRS ENVID=0190b8a4-1",
        f"RCPT TO:<{RCPT}> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;{RCPT}",
        "RCPT TO:<a+b=c@x.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;a+2Bb+3Dc@x.example",
    ]


async def test_a_server_that_offers_none_is_not_asked():
    assert await said(EXTENSIONS, EVERYTHING, RCPT) == [
        f"MAIL FROM:<{SENDER}> SIZE={len(MAIL)}",
        f"RCPT TO:<{RCPT}>",
    ]


async def test_a_mail_that_asks_for_nothing_can_still_be_told_apart():
    assert await said(WITH_DSN, DsnRequest("m1"), RCPT) == [
        f"MAIL FROM:<{SENDER}> SIZE={len(MAIL)} ENVID=m1",
        f"RCPT TO:<{RCPT}> ORCPT=rfc822;{RCPT}",
    ]
    assert await said(WITH_DSN, None, RCPT) == [
        f"MAIL FROM:<{SENDER}> SIZE={len(MAIL)}",
        f"RCPT TO:<{RCPT}>",
    ]


async def test_never_and_full():
    dsn = DsnRequest("m1", (Notify.NEVER,), ReturnContent.FULL)
    assert await said(WITH_DSN, dsn, RCPT) == [
        f"MAIL FROM:<{SENDER}> SIZE={len(MAIL)} RET=FULL ENVID=m1",
        f"RCPT TO:<{RCPT}> NOTIFY=NEVER ORCPT=rfc822;{RCPT}",
    ]


async def test_an_international_recipient_has_the_address_type_for_it():
    mail, local, domain = await said(
        WITH_DSN, DsnRequest("m1"), "フ+a@x.example", "a@xn--strae-oqa.example"
    )
    assert " SMTPUTF8" in mail
    assert local.endswith(r" ORCPT=utf-8;\x{30D5}\x{2B}a@x.example")
    assert domain.endswith(" ORCPT=rfc822;a@xn--strae-oqa.example")


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        (b"", b""),
        (b"azAZ09!@~*,-<>?", b"azAZ09!@~*,-<>?"),
        (b"a+b=c d", b"a+2Bb+3Dc+20d"),
        (b"\r\n\x00\x7f\xc3\xa9", b"+0D+0A+00+7F+C3+A9"),
    ],
)
def test_xtext(text, encoded):
    assert xtext(text) == encoded


def test_utf8_addresses_hold_nothing_but_ascii():
    assert utf8_address('"a\\ b"@é🎉.x') == rb'"a\x{5C}\x{20}b"@\x{E9}\x{1F389}.x'


@pytest.mark.parametrize("identifier", ["", "x" * 101, "é" * 40])
def test_an_identifier_that_does_not_fit_is_left_out(identifier):
    assert mail_parameters(DsnRequest(identifier)) == []


def test_an_original_recipient_that_does_not_fit_is_left_out():
    path = "漢" * 21 + "@" + ".".join(["x" * 60] * 4)
    assert rcpt_parameters(DsnRequest("m1"), path.encode())
    assert rcpt_parameters(DsnRequest("m1"), ("漢" * 80 + "@x").encode()) == []
