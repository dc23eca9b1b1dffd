"""What a caller writes arrives as one mail with our header and for whom it names, or not at all.

The way is the product's own: request, composing, SMTP client; the server keeps every byte (S1, S3,
S8). ``test_smtp_injection`` does the same to the client alone.
"""

from __future__ import annotations

import base64
import email
import email.policy
import random
import re
import unicodedata
from datetime import UTC, datetime, timedelta
from email.utils import getaddresses
from typing import Any

import pytest
from pydantic import ValidationError

from activities.mail.compose import compose
from activities.mail.smtp import ClientSession, SmtpClient
from activities.ports import ComposedMail
from models.addresses import wire_address
from models.errors import ConnectorError, ErrorType
from models.message import EmailMessage
from tests.mail.smtp_kit import endpoint
from tests.mail.test_smtp_injection import SECOND, SMUGGLING, bare_line_ends
from tests.smtp_server import SmtpServer

PATIENCE = timedelta(seconds=20)
DATE = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
SENDER = "shop@example.org"
BODIES = 10_000
TRICKS = [trick.decode("latin-1") for trick in SMUGGLING]
PIECES = [
    *TRICKS,
    SECOND.decode(),
    "\n.\nQUIT\n",
    "\r\n..\r\n",
    ".",
    "\r\n",
    " ",
    "text",
    "é",
    "=_",
]
CONTROLS = [chr(n) for n in range(32)] + ["\x7f", "\x80", "\x85", "\x9f", "\u2028", "\u2029"]


def composed(
    values: dict[str, Any], *, full_name: str = "", account: str = SENDER
) -> tuple[EmailMessage, ComposedMail] | None:
    """The mail that a request makes; None when it is refused, with a field or a reason."""
    try:
        message = EmailMessage.model_validate({"to": "a@e.example", "subject": "s"} | values)
        mail = compose(
            message,
            account_address=account,
            full_name=full_name,
            internet_message_id="<1@example.org>",
            date=DATE,
            attachments=[base64.b64decode(a.content or "") for a in message.attachments],
        )
    except ValidationError:
        return None
    except ConnectorError as error:
        if error.type is not ErrorType.INVALID_INPUT or not error.field:
            raise
        return None
    return message, mail


async def announce(session: ClientSession, message: EmailMessage, mail: ComposedMail) -> None:
    """MAIL and RCPT as ``SendEmail`` says them."""
    boxes = [*message.to, *message.cc, *message.bcc]
    replies = await session.envelope(
        mail.envelope_from,
        [box.address for box in boxes],
        len(mail.raw),
        ascii_only=mail.raw.isascii(),
    )
    assert all(reply.accepted for reply in replies.values())


async def transmit(session: ClientSession, message: EmailMessage, mail: ComposedMail) -> None:
    await announce(session, message, mail)
    await session.body(mail.raw)
    assert (await session.end_of_data(PATIENCE)).accepted


def text_in(part: Any) -> str:
    content: bytes = part.get_payload(decode=True)
    return content.decode().replace("\r\n", "\n").removesuffix("\n")


def as_read(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")


@pytest.mark.timeout(300)  # 40,000 round trips
async def test_ten_thousand_composed_bodies_arrive_as_as_many_mails():
    rng = random.Random(51764)
    refused = 0
    async with SmtpServer() as server:
        target = endpoint(server.port, timeout=PATIENCE)
        async with SmtpClient().session(target) as session:
            for number in range(1, BODIES + 1):
                values, risky = _request(rng)
                made = composed(values | risky)
                if made is None:
                    refused += 1
                    made = composed(values)
                assert made is not None
                assert not risky or made[1].subject.isprintable()
                await transmit(session, *made)
                assert len(server.accepted) == number
                assert server.accepted[-1].content == made[1].raw
                if number % 40 == 0:
                    _assert_text_survived(made[1], values)
    (connection,) = server.connections
    assert not bare_line_ends(connection.raw)
    assert connection.raw.count(b"\r\n.\r\n") == BODIES
    assert len(connection.commands) == 2 + 3 * BODIES
    verbs = {line.partition(" SIZE=")[0] for line in connection.commands}
    ours = {f"MAIL FROM:<{SENDER}>", "RCPT TO:<a@e.example>", "DATA", "QUIT", "EHLO [127.0.0.1]"}
    assert verbs == ours
    assert BODIES / 10 < refused < BODIES / 2  # text that is no body is refused


def _request(rng: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """A request with tricks in its bodies, and more of them where no line break belongs."""

    def text() -> str:
        return "".join(rng.choices(PIECES, k=rng.randint(1, 9)))

    def file(name: str) -> dict[str, Any]:
        content = base64.b64encode(text().encode()).decode()
        return {"name": name, "content_type": "text/plain", "content": content}

    kind = rng.randrange(8)
    values: dict[str, Any] = {"plain_body": text()}
    risky: dict[str, Any] = {}
    if kind % 2:
        values["content"] = text()
    if kind > 5:
        values["attachments"] = [file("note.txt")]
    trick = rng.choice(TRICKS)
    if kind == 1:
        risky["subject"] = trick
    if kind == 3:
        risky["from_display_name"] = trick
    if kind == 7:
        risky["attachments"] = [file("a" + trick)]
    return values, risky


def _assert_text_survived(mail: ComposedMail, values: dict[str, Any]) -> None:
    parsed = email.message_from_bytes(mail.raw, policy=email.policy.default)
    leaves = [part for part in parsed.walk() if not part.is_multipart()]
    texts = [text_in(p) for p in leaves if p.get_content_disposition() != "attachment"]
    assert texts == [as_read(values[n]) for n in ("plain_body", "content") if values.get(n)]


# --- Header fields --------------------------------------------------------------------------------

FIELDS: dict[str, Any] = {
    "to name": lambda t: {"to": [{"name": t, "address": "a@e.example"}]},
    "to address": lambda t: {"to": [{"address": f"{t}@e.example"}]},
    "to text": lambda t: {"to": f"{t} <a@e.example>"},
    "cc name": lambda t: {"cc": [{"name": t, "address": "c@e.example"}]},
    "cc address": lambda t: {"cc": [{"address": f"c@{t}.example"}]},
    "bcc address": lambda t: {"bcc": [{"address": f"{t}@e.example"}]},
    "reply_to name": lambda t: {"reply_to": [{"name": t, "address": "r@e.example"}]},
    "reply_to address": lambda t: {"reply_to": [{"address": f"{t}@e.example"}]},
    "from_address name": lambda t: {"from_address": {"name": t, "address": "f@e.example"}},
    "from_address address": lambda t: {"from_address": {"address": f"{t}@e.example"}},
    "from_display_name": lambda t: {"from_display_name": t},
    "subject": lambda t: {"subject": t},
    "attachments name": lambda t: {"attachments": [{"name": t, "content": ""}]},
    "attachments type": lambda t: {
        "attachments": [{"name": "a", "content_type": f"text/{t}", "content": ""}]
    },
    "in_reply_to": lambda t: {"in_reply_to": f"<{t}@e.example>"},
    "references": lambda t: {"references": [f"<{t}@e.example>"]},
    "list_unsubscribe url": lambda t: {"list_unsubscribe": {"url": f"https://e.example/{t}"}},
    "list_unsubscribe mailto": lambda t: {"list_unsubscribe": {"mailto": f"mailto:{t}@e.example"}},
    "auto_submitted": lambda t: {"auto_submitted": t},
    "headers name": lambda t: {"headers": {t: "v"}},
    "headers value": lambda t: {"headers": {"X-Any": t}},
    "account full_name": lambda t: {"full_name": t},
    "account address": lambda t: {"account": f"{t}@e.example"},
}
"""Ways of text into a header field, or beside one."""
OF_THE_ACCOUNT = ("full_name", "account")
NO_HEADER = {
    "content", "plain_body", "use_only_plain_text", "reply_of", "forward_of", "delivery_status",
}  # fmt: skip
OURS = {
    "Message-ID", "Date", "From", "Reply-To", "To", "Cc", "Subject", "MIME-Version", "Content-Type",
    "Content-Transfer-Encoding", "Content-Disposition", "In-Reply-To", "References",
    "List-Unsubscribe", "Auto-Submitted", "X-Any",
}  # fmt: skip


def test_every_field_of_a_mail_is_tried():
    """A new field belongs into ``FIELDS``, unless nothing of it stands in the header."""
    assert {name.split()[0] for name in FIELDS} - {"account"} == set(
        EmailMessage.model_fields
    ) - NO_HEADER


async def test_no_character_adds_a_header_field():
    cells, arrived = 0, 0
    async with SmtpServer() as server:
        target = endpoint(server.port, timeout=PATIENCE)
        async with SmtpClient().session(target) as session:
            for name, values_of in FIELDS.items():
                for control in CONTROLS:
                    cells += 1
                    text = f"x{control}X-Injected: y{control}{control}z"
                    values = {"plain_body": "x"} | values_of(text)
                    options = {k: values.pop(k) for k in OF_THE_ACCOUNT if k in values}
                    made = composed(values, **options)
                    if made is None:
                        continue
                    # Names of files are cleaned of what they cannot hold, not refused.
                    harmless = control == "\t" or name == "attachments name"
                    assert harmless, f"{control!r} in {name} went through"
                    await transmit(session, *made)
                    arrived += 1
                    _assert_only_our_fields(server.accepted[-1].content)
    (connection,) = server.connections
    assert cells == len(FIELDS) * len(CONTROLS) == 874
    assert len(server.accepted) == arrived > 0
    assert not bare_line_ends(connection.raw)
    assert len(connection.commands) == 2 + sum(2 + len(m.rcpts) for m in server.accepted)


def _assert_only_our_fields(content: bytes) -> None:
    parsed = email.message_from_bytes(content, policy=email.policy.default)
    assert content.count(b"\r\n\r\n") == (3 if parsed.is_multipart() else 1)
    for part in parsed.walk():
        assert set(part.keys()) <= OURS
        assert len(set(part.keys())) == len(part.keys())


# --- Recipients -----------------------------------------------------------------------------------

# What is fine, and what has two readings or none.
LOCALS = ["a", "first.last", "o'hara", '"two words"', "x+tag", "büro"], ["=?utf-8?q?=41?=", ".a"]
DOMAINS = ["e.example", "sub.e.example", "bücher.example", "[192.0.2.1]"], ["e..example", "-e.org"]
NAMES = (
    ["", "Ann", '"North, South"', "Zoë"],
    ["Ann (x@y.example)", "=?utf-8?q?=3Cv=40x.example=3E?=", "a@b"],
)
NOISE = [
    *'<>,;:@"\\()[]. \t%!',
    "\r\n", "\r", "\n", "\0", "\x85", "\u2028", "\u200b", "\u00a0", "\uff20", "\uff0e", "\ufe55",
    "?=", "@v.example", "<v@x.example>", ",v@x.example", "(v@x.example)",
    ">\r\nRCPT TO:<v@x.example",
]  # fmt: skip


async def test_who_was_typed_is_in_the_header_and_in_the_envelope():
    """0 recipients added, lost or changed on the way (CVE-2023-27043, CVE-2025-13033)."""
    rng = random.Random(27043)
    taken = 0
    async with SmtpServer() as server:
        target = endpoint(server.port, timeout=PATIENCE)
        async with SmtpClient().session(target) as session:
            for _ in range(4000):
                typed = _typed(rng)
                made = composed({"to": typed, "plain_body": "x"})
                if made is None:
                    continue
                taken += 1
                message, mail = made
                before = len(server.connections[0].commands)
                await announce(session, message, mail)
                await session.reset()
                commands = server.connections[0].commands[before:]
                in_header = _to_of(mail)
                assert commands[1:-1] == [f"RCPT TO:<{address}>" for address in in_header]
                assert in_header == [wire_address(box.address) for box in message.to]
                _assert_typed(typed, [box.address for box in message.to])
    assert not bare_line_ends(server.connections[0].raw)
    assert 400 < taken < 3600


async def test_the_sender_that_was_typed_is_in_the_header_and_in_the_envelope():
    rng = random.Random(13033)
    taken = 0
    async with SmtpServer() as server:
        target = endpoint(server.port, timeout=PATIENCE)
        async with SmtpClient().session(target) as session:
            for _ in range(2000):
                typed = _typed(rng, most=1)
                made = composed({"from_address": typed, "plain_body": "x"})
                if made is None:
                    continue
                taken += 1
                message, mail = made
                assert message.from_address is not None
                await announce(session, message, mail)
                mail_command, _ = server.connections[0].commands[-2:]
                path = mail_command.removeprefix("MAIL FROM:<").partition("> SIZE=")[0]
                assert [path] == _addresses_in(mail, "From")
                assert path == wire_address(message.from_address.address)
                _assert_typed(typed, [message.from_address.address])
                await session.reset()
    assert 200 < taken < 1800


def _typed(rng: random.Random, most: int = 3) -> str:
    """Some mailboxes as a person types them, often with something odd at a random place."""
    items = []
    for _ in range(rng.randint(1, most)):
        local, domain, name = (
            rng.choice(odd if rng.random() < 0.05 else fine)
            for fine, odd in (LOCALS, DOMAINS, NAMES)
        )
        address = f"{local}@{domain}"
        items.append(f"{name} <{address}>" if name else address)
    text = rng.choice([", ", "; ", ";"]).join(items)
    for _ in range(rng.choice([0, 1, 1, 2])):
        at = rng.randint(0, len(text))
        text = text[:at] + rng.choice(NOISE) + text[at:]
    return text


def _to_of(mail: ComposedMail) -> list[str]:
    return _addresses_in(mail, "To")


def _addresses_in(mail: ComposedMail, field: str) -> list[str]:
    """Addresses as a reader that is not ours finds them."""
    raw = re.search(rf"^{field}: ((?:.|\r\n )*)\r\n", mail.raw.decode(), re.MULTILINE)
    assert raw
    return [address for _, address in getaddresses([raw[1].replace("\r\n ", " ")])]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _assert_typed(typed: str, addresses: list[str]) -> None:
    """Each address stands in what was typed, and nothing else there is an address."""
    text = unicodedata.normalize("NFC", typed)
    assert not re.search(r"[\r\n\0\x85\u2028]", text)
    plain = _unescaped(text)
    for address in addresses:
        local, _, domain = _unescaped(address).rpartition("@")
        # Quotation marks that are not needed do not make another mailbox (RFC 5321 §4.1.2).
        assert f"{local}@{domain}" in plain or f'"{local}"@{domain}' in plain
    if '"' not in text:  # then the separators alone say where an address ends
        items = [item.strip(" \t") for item in re.split("[,;]", text)]
        ends = [re.sub(r".*<(.*)>\Z", r"\1", item) for item in items if item]
        assert addresses == list(dict.fromkeys(ends))
