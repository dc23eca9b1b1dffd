"""How long a reply is waited for (RFC 5321 §4.5.3.2)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from activities.mail import smtp_patience
from activities.mail.smtp_patience import patience
from models.delivery import Phase
from models.errors import ErrorType
from tests.mail.smtp_kit import endpoint, failure_of
from tests.smtp_connection import EXTENSIONS
from tests.smtp_server import Fault, SmtpServer


@pytest.mark.parametrize(
    ("verb", "account", "seconds"),
    [
        ("MAIL", 20, 20), ("DATA", 20, 20), ("(content)", 20, 20), ("(greeting)", 20, 20),
        ("MAIL", 600, 300), ("RCPT", 600, 300), ("(greeting)", 600, 300), ("EHLO", 600, 300),
        ("DATA", 600, 120), ("(content)", 600, 180), ("(answer)", 600, 300), ("DATA", 119, 119),
    ],
)  # fmt: skip
def test_as_long_as_the_rfc_says_but_no_longer_than_the_account(verb, account, seconds):
    assert patience(verb, account) == seconds


@pytest.mark.parametrize("extensions", [EXTENSIONS, EXTENSIONS[1:]], ids=["pipelined", "in turn"])
@pytest.mark.parametrize(
    ("stage", "verb", "phase"),
    [
        ("banner", "(greeting)", Phase.BANNER),
        ("mail", "MAIL", Phase.MAIL),
        ("rcpt", "RCPT", Phase.RCPT),
        ("data", "DATA", Phase.DATA),
    ],
)
async def test_each_command_has_its_own_limit(monkeypatch, stage, verb, phase, extensions):
    monkeypatch.setitem(smtp_patience._SECONDS, verb, 0.2)
    patient = {"timeout": timedelta(seconds=60)}
    async with SmtpServer(faults=[Fault(stage, "hang")], extensions=extensions) as server:
        async with asyncio.timeout(20):
            failure = await failure_of(endpoint(server.port, **patient))
        assert (failure.type, failure.phase) == (ErrorType.CONNECTION_TIMED_OUT, phase)
