"""Composed mails as an independent reader (the standard library) sees them."""

from __future__ import annotations

import contextlib
import email
import email.policy
import re
from datetime import UTC, datetime, timedelta, timezone
from email.header import decode_header, make_header
from email.message import EmailMessage as ReadMail
from email.utils import getaddresses, parsedate_to_datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from activities.mail.compose import compose, new_internet_message_id
from activities.ports import ComposedMail
from models.addresses import Mailbox, needs_smtputf8, wire_address
from models.errors import ConnectorError, ErrorType
from models.header_fields import ListUnsubscribe
from models.message import Attachment, AttachmentPosition, EmailMessage

MESSAGE_ID = "<0190b8a4@example.org>"
DATE = datetime(2026, 3, 1, 12, 30, 15, tzinfo=timezone(timedelta(hours=2)))
PNG = b"\x89PNG\r\n\x1a\n\x00\xff"
NORMAL, INLINE = AttachmentPosition.NORMAL, AttachmentPosition.INLINE


def mail_to(to: object, **values: Any) -> EmailMessage:
    return EmailMessage.model_validate({"to": to} | values)


def composed(message: EmailMessage, *contents: bytes, **changes: Any) -> ComposedMail:
    options: dict[str, Any] = {
        "account_address": "shop@example.org",
        "full_name": "Web Shop",
        "internet_message_id": MESSAGE_ID,
        "date": DATE,
        "attachments": contents,
    }
    return compose(message, **(options | changes))


def read(mail: ComposedMail) -> ReadMail:
    parsed = email.message_from_bytes(mail.raw, policy=email.policy.default)
    assert isinstance(parsed, ReadMail)
    assert not any(part.defects for part in parsed.walk())
    return parsed


def mailboxes_in(mail: ComposedMail, field: str) -> list[tuple[str, str]]:
    """Names and addresses of a field. Python 3.11's own address parser puts spaces between encoded
    words, so the older functions read the field here.
    """
    raw_field = re.search(rb"^%b: ((?:.|\r\n )*)\r\n" % field.encode(), mail.raw, re.MULTILINE)
    assert raw_field
    unfolded = raw_field[1].decode().replace("\r\n ", " ")
    return [(str(make_header(decode_header(n))), a) for n, a in getaddresses([unfolded])]


def unquoted(local: str) -> str:
    return re.sub(r"\\(.)", r"\1", local[1:-1]) if local.startswith('"') else local


def text_of(part: Any) -> str:
    content: bytes = part.get_payload(decode=True)
    return content.decode("utf-8").replace("\r\n", "\n")


def shape(part: Any) -> Any:
    if part.is_multipart():
        return [part.get_content_subtype(), *map(shape, part.iter_parts())]
    return part.get_content_type()


def assert_transportable(mail: ComposedMail) -> None:
    bare = mail.raw.replace(b"\r\n", b"")
    assert b"\r" not in bare
    assert b"\n" not in bare
    assert b"\x00" not in bare
    assert max(map(len, mail.raw.split(b"\r\n"))) <= 998
    assert mail.raw.endswith(b"\r\n")


# --- Headers ------------------------------------------------------------------------------------


def test_headers_say_what_was_typed() -> None:
    message = mail_to(
        to='a@example.net; "Sales, North" <b@example.net>',
        cc="Büro Köln <c@bücher.example>",
        bcc="hidden@example.net",
        reply_to="d@example.net",
        subject="Größe ✓, =?utf-8?q?x?=  two spaces ",
        plain_body="x",
    )
    mail = composed(message)
    parsed = read(mail)
    assert parsed.keys() == [
        "Message-ID", "Date", "From", "Reply-To", "To", "Cc", "Subject", "MIME-Version",
        "Content-Type", "Content-Transfer-Encoding",
    ]  # fmt: skip
    assert parsed["Subject"] == message.subject
    assert parsed["Message-ID"] == MESSAGE_ID
    assert parsedate_to_datetime(parsed["Date"]) == DATE
    assert mailboxes_in(mail, "From") == [("Web Shop", "shop@example.org")]
    assert mailboxes_in(mail, "Reply-To") == [("", "d@example.net")]
    assert mailboxes_in(mail, "To") == [("", "a@example.net"), ("Sales, North", "b@example.net")]
    assert mailboxes_in(mail, "Cc") == [("Büro Köln", "c@xn--bcher-kva.example")]
    assert b"hidden" not in mail.raw
    assert mail.raw.isascii()
    assert mail == ComposedMail(
        raw=mail.raw,
        internet_message_id=MESSAGE_ID,
        envelope_from="shop@example.org",
        subject=message.subject,
        sender="shop@example.org",
        to=("a@example.net", "b@example.net"),
        cc=("c@bücher.example",),
        attachments=0,
    )


@pytest.mark.parametrize(
    ("changes", "full_name", "shown", "envelope"),
    [
        ({}, "Shop", ("Shop", "shop@example.org"), "shop@example.org"),
        ({}, "", ("", "shop@example.org"), "shop@example.org"),
        ({"from_display_name": "Orders"}, "Shop", ("Orders", "shop@example.org"),
         "shop@example.org"),
        ({"from_display_name": ""}, "Shop", ("Shop", "shop@example.org"), "shop@example.org"),
        ({"from_address": "o@bücher.example"}, "Shop", ("Shop", "o@xn--bcher-kva.example"),
         "o@xn--bcher-kva.example"),
        ({"from_address": "Desk <o@e.org>"}, "Shop", ("Desk", "o@e.org"), "o@e.org"),
        ({"from_address": "Desk <o@e.org>", "from_display_name": "Orders"}, "Shop",
         ("Orders", "o@e.org"), "o@e.org"),
    ],
)  # fmt: skip
def test_the_sender(
    changes: dict[str, str], full_name: str, shown: tuple[str, str], envelope: str
) -> None:
    message = EmailMessage.model_validate({"to": "a@e.org", "plain_body": "x"} | changes)
    mail = composed(message, full_name=full_name)
    assert mailboxes_in(mail, "From") == [shown]
    assert mail.envelope_from == envelope


def test_only_a_local_part_makes_the_header_utf8() -> None:
    mail = composed(mail_to(to="Büro <büro@bücher.example>", subject="ü", plain_body="ü"))
    assert b"\r\nTo: =?utf-8?q?B=C3=BCro?= <b\xc3\xbcro@xn--bcher-kva.example>\r\n" in mail.raw
    assert mail.raw.replace(b"b\xc3\xbcro@", b"").isascii()


def test_a_thousand_recipients_are_folded() -> None:
    text = ";".join(f"Büro {n} <a{n}@example.net>" for n in range(1000))
    mail = composed(mail_to(to=text, plain_body="x"))
    assert_transportable(mail)
    assert [name for name, _ in mailboxes_in(mail, "To")] == [f"Büro {n}" for n in range(1000)]


def test_new_message_ids() -> None:
    assert new_internet_message_id("4711", "a@example.org") == "<4711@example.org>"
    assert new_internet_message_id("4711", "a@bücher.example") == "<4711@xn--bcher-kva.example>"
    assert new_internet_message_id("4711", "a@[192.0.2.1]") == "<4711@[192.0.2.1]>"


ONE_LINE = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], include_characters="\t"), max_size=90
)
TRICKY = st.text("ab ,;:<>@()[]\"\\.=?_'\té漢🎉", max_size=120)


@settings(deadline=None)
@given(st.one_of(ONE_LINE, TRICKY), st.one_of(ONE_LINE, TRICKY))
def test_any_name_and_subject_survive(name: str, subject: str) -> None:
    to = Mailbox(name=name, address="a@example.net")
    second = Mailbox(name=name, address='"two words"@example.net')
    message = mail_to(to=[to, second], subject=subject, plain_body="x", from_display_name=name)
    mail = composed(message)
    assert_transportable(mail)
    assert mail.raw.isascii()
    assert mailboxes_in(mail, "To") == [(m.name, m.address) for m in (to, second)]
    if to.name:
        assert mailboxes_in(mail, "From") == [(to.name, "shop@example.org")]
    parsed = read(mail)
    assert parsed["Subject"] == subject
    # Two readers, one recipient list (CVE-2023-27043, CVE-2025-1795).
    assert [a.addr_spec for a in parsed["To"].addresses] == [to.address, second.address]


@settings(deadline=None, max_examples=300)
@given(
    st.text("abAZ09!#$%&'*+-/=?^_`{|}~. \"\\éßç漢🎉", min_size=1, max_size=20),
    st.sampled_from(["example.net", "bücher.example", "[192.0.2.1]", "localhost"]),
)
def test_every_accepted_address_reads_back(local: str, domain: str) -> None:
    escaped = local.replace("\\", "\\\\").replace('"', '\\"')
    for typed in (f"{local}@{domain}", f'"{escaped}"@{domain}'):
        try:
            message = mail_to(to=[Mailbox(address=typed)], plain_body="x")
        except ValidationError:
            continue
        mail = composed(message)
        expected = [("", wire_address(message.to[0].address))]
        if not domain.startswith("["):  # Debian 12's Python 3.11.2 does not read address literals
            assert mailboxes_in(mail, "To") == expected
        if not needs_smtputf8(mail.to):
            # (This reader shows local parts without their quotes.)
            (again,) = read(mail)["To"].addresses
            assert again.domain == expected[0][1].rpartition("@")[2]
            assert again.username == unquoted(mail.to[0].rpartition("@")[0])


# --- Injection ----------------------------------------------------------------------------------

CONTROLS = [chr(n) for n in range(32)] + ["\x7f", "\x85", "\u2028", "\u2029", "\r\n", "\r\n "]
EXPECTED_FIELDS = {
    "Message-ID", "Date", "From", "Reply-To", "To", "Cc", "Subject", "MIME-Version", "Content-Type",
    "Content-Transfer-Encoding", "Content-Disposition", "In-Reply-To", "References",
    "List-Unsubscribe", "Comments", "Keywords", "List-Id", "X-Own",
}  # fmt: skip


def _with(changes: dict[str, Any], *, checked: bool) -> EmailMessage:
    values = {"to": [{"address": "a@e.org"}], "subject": "s", "plain_body": "x"} | changes
    if checked:
        return EmailMessage.model_validate(values)
    for name in ("to", "cc", "reply_to"):
        values[name] = tuple(Mailbox.model_construct(**m) for m in values.get(name, ()))
    if "from_address" in values:
        values["from_address"] = Mailbox.model_construct(**values["from_address"])
    if "attachments" in values:
        values["attachments"] = [Attachment.model_construct(**a) for a in values["attachments"]]
    if "list_unsubscribe" in values:
        values["list_unsubscribe"] = ListUnsubscribe.model_construct(**values["list_unsubscribe"])
    return EmailMessage.model_construct(**values)


INJECTIONS: dict[str, Any] = {
    "to name": lambda t: {"to": [{"name": t, "address": "a@e.org"}]},
    "to address": lambda t: {"to": [{"address": f"{t}@e.org"}]},
    "to domain": lambda t: {"to": [{"address": f"a@{t}"}]},
    "cc name": lambda t: {"cc": [{"name": t, "address": "a@e.org"}]},
    "cc address": lambda t: {"cc": [{"address": f"{t}@e.org"}]},
    "reply_to name": lambda t: {"reply_to": [{"name": t, "address": "a@e.org"}]},
    "reply_to address": lambda t: {"reply_to": [{"address": f"{t}@e.org"}]},
    "from_address name": lambda t: {"from_address": {"name": t, "address": "a@e.org"}},
    "from_address address": lambda t: {"from_address": {"address": f"{t}@e.org"}},
    "from_display_name": lambda t: {"from_display_name": t},
    "subject": lambda t: {"subject": t},
    "in_reply_to": lambda t: {"in_reply_to": f"<{t}@e.org>"},
    "references": lambda t: {"references": ["<a@e.org>", f"<{t}@e.org>"]},
    "unsubscribe url": lambda t: {"list_unsubscribe": {"url": f"https://e.org/{t}"}},
    "unsubscribe mailto": lambda t: {"list_unsubscribe": {"mailto": f"mailto:a@e.org?subject={t}"}},
    "header name": lambda t: {"headers": {t: "y"}},
    "header of another's name": lambda t: {"headers": {f"X-{t}": "y"}},
    "header in text": lambda t: {"headers": {"Comments": t}},
    "header in phrases": lambda t: {"headers": {"Keywords": f"a, {t}"}},
    "header in a token": lambda t: {"headers": {"List-Id": f"<{t}.e.org>"}},
    "header of one's own": lambda t: {"headers": {"X-Own": t}},
    "attachment name": lambda t: {"attachments": [{"name": t, "content": ""}]},
    "attachment type": lambda t: {
        "attachments": [{"name": "a", "content_type": f"text/{t}", "content": ""}]
    },
    "full_name": lambda t: ({}, {"full_name": t}),
    "account_address": lambda t: ({}, {"account_address": f"{t}@e.org"}),
    "internet_message_id": lambda t: ({}, {"internet_message_id": f"<{t}@e.org>"}),
}


@pytest.mark.parametrize("checked", [True, False], ids=["through the model", "past the model"])
@pytest.mark.parametrize("field", INJECTIONS)
def test_no_text_becomes_a_header(field: str, checked: bool) -> None:
    for control in CONTROLS:
        values = INJECTIONS[field](f"x{control}X-Injected: y{control}{control}z")
        changes, options = values if isinstance(values, tuple) else (values, {})
        mail = sent_or_refused(changes, options, checked=checked)
        if mail is None:
            continue
        assert control == "\t" or field == "attachment name", f"{control!r} went through"
        assert_transportable(mail)
        assert mail.raw.count(b"\r\n\r\n") == (3 if mail.attachments else 1)
        for part in read(mail).walk():
            assert set(part.keys()) <= EXPECTED_FIELDS
        assert not re.search(
            rb"(?:[\r\n\x0b\x0c\x1c-\x1e\x85]|\xe2\x80[\xa8\xa9])X-Injected", mail.raw
        )


def sent_or_refused(
    changes: dict[str, Any], options: dict[str, Any], *, checked: bool
) -> ComposedMail | None:
    try:
        message = _with(changes, checked=checked)
    except ValidationError:
        return None
    try:
        return composed(message, *[b""] * len(message.attachments), **options)
    except ConnectorError as error:
        if error.type is not ErrorType.INVALID_INPUT or not error.field:
            raise
        return None


@pytest.mark.parametrize(
    ("field", "changes", "options"),
    [
        ("message.subject", {"subject": "a\nb"}, {}),
        ("message.subject", {"subject": "\ud800"}, {}),
        ("message.from_display_name", {"from_display_name": "a\nb"}, {}),
        ("message.to", {"to": [{"name": "a\u2028b", "address": "a@e.org"}]}, {}),
        ("message.cc", {"cc": [{"address": "a\r\nb@e.org"}]}, {}),
        ("message.reply_to", {"reply_to": [{"address": "a@e org"}]}, {}),
        ("message.from_address", {"from_address": {"address": "a@e org"}}, {}),
        ("message.references", {"in_reply_to": "<ü@e.org>"}, {}),
        ("message.list_unsubscribe", {"list_unsubscribe": {"url": "https://ü"}}, {}),
        ("message.headers", {"headers": {"Bcc": "a@e.org"}}, {}),
        ("message.headers", {"headers": {"X-A": "a\r\nb"}}, {}),
        ("message.plain_body", {"plain_body": "\ud800"}, {}),
        ("message.content", {"content": "\ud800"}, {}),
        (
            "message.attachments.0.content_type",
            {"attachments": [{"name": "a", "content_type": "text", "content": ""}]},
            {},
        ),
        ("account.full_name", {}, {"full_name": "a\r\nb"}),
        ("account.email_address", {}, {"account_address": "a"}),
        ("internet_message_id", {}, {"internet_message_id": "a@b"}),
        ("internet_message_id", {}, {"internet_message_id": "<ü@b>"}),
    ],
)
def test_what_got_past_the_model_is_named(
    field: str, changes: dict[str, Any], options: dict[str, str]
) -> None:
    message = _with(changes, checked=False)
    with pytest.raises(ConnectorError) as caught:
        composed(message, *[b""] * len(message.attachments), **options)
    assert caught.value.type is ErrorType.INVALID_INPUT
    assert caught.value.field == field


# --- Bodies -------------------------------------------------------------------------------------


def attached(*positions: AttachmentPosition) -> list[Attachment]:
    return [
        Attachment(name=f"{n}.png", content_type="image/png", position=position, content="")
        for n, position in enumerate(positions)
    ]


TEXT, HTML, PICTURE = "text/plain", "text/html", "image/png"


@pytest.mark.parametrize(
    ("values", "positions", "expected"),
    [
        ({"plain_body": "x"}, [], TEXT),
        ({"content": "<p>"}, [], HTML),
        ({"plain_body": "", "content": "<p>"}, [], HTML),
        ({"plain_body": "x", "content": "<p>"}, [], ["alternative", TEXT, HTML]),
        ({"plain_body": "x", "content": "<p>", "use_only_plain_text": True}, [], TEXT),
        ({"plain_body": "x"}, [NORMAL], ["mixed", TEXT, PICTURE]),
        ({"plain_body": "x"}, [INLINE], ["mixed", TEXT, PICTURE]),
        ({"content": "<p>"}, [INLINE], ["related", HTML, PICTURE]),
        (
            {"plain_body": "x", "content": "<p>"},
            [INLINE, NORMAL, INLINE],
            ["mixed", ["alternative", TEXT, ["related", HTML, PICTURE, PICTURE]], PICTURE],
        ),
    ],
)
def test_structure(values: dict[str, Any], positions: list[Any], expected: Any) -> None:
    message = mail_to(to="a@e.org", attachments=attached(*positions), **values)
    mail = composed(message, *[PNG] * len(positions))
    assert shape(read(mail)) == expected
    assert mail.attachments == len(positions)
    assert_transportable(mail)
    files = [p for p in read(mail).walk() if p.get_content_type() == PICTURE]
    assert [p.get_payload(decode=True) for p in files] == [PNG] * len(positions)
    by_name = {p.get_filename(): p.get_content_disposition() for p in files}
    assert by_name == {
        f"{n}.png": "inline" if position is INLINE else "attachment"
        for n, position in enumerate(positions)
    }


LINES = st.text('ab =_.-<>&"é漢🎉\t\x00\x0b\x0c\x85\u2028\r\n', max_size=400)


@settings(deadline=None)
@given(st.one_of(st.text(max_size=2000), LINES), LINES)
def test_any_text_survives(plain: str, page: str) -> None:
    message = mail_to(to="a@e.org", plain_body=plain + "x", content=page + "x")
    mail = composed(message)
    assert_transportable(mail)
    assert mail.raw.isascii()
    text, html = read(mail).iter_parts()
    assert text_of(text) == (plain + "x").replace("\r\n", "\n").replace("\r", "\n")
    assert text_of(html) == (page + "x").replace("\r\n", "\n").replace("\r", "\n")
    assert {part["Content-Transfer-Encoding"] for part in (text, html)} <= {
        "7bit", "quoted-printable", "base64",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("short\nlines", "7bit"),
        ("x" * 79, "quoted-printable"),
        ("x" * 100_000, "quoted-printable"),
        ("a few umläuts among many letters", "quoted-printable"),
        ("漢字" * 1000, "base64"),
        ("smuggled\n.\r\nMAIL FROM:<x@e.org>", "7bit"),
        ("nul \x00", "quoted-printable"),
    ],
)
def test_encodings(text: str, encoding: str) -> None:
    mail = composed(mail_to(to="a@e.org", plain_body=text))
    assert read(mail)["Content-Transfer-Encoding"] == encoding
    assert text_of(read(mail)).rstrip("\n") == text.replace("\r\n", "\n")
    assert_transportable(mail)


def test_a_text_cannot_hold_our_boundary() -> None:
    message = mail_to(to="a@e.org", plain_body="x", content="<p>")
    boundary = read(composed(message)).get_boundary()
    hostile = mail_to(to="a@e.org", plain_body=f"x\n--{boundary}--\ny", content="<p>")
    mail = composed(hostile)
    assert read(mail).get_boundary() == boundary
    assert shape(read(mail)) == ["alternative", TEXT, HTML]
    assert text_of(next(read(mail).iter_parts())) == f"x\n--{boundary}--\ny"


def test_the_same_input_gives_the_same_bytes() -> None:
    message = mail_to(
        to="a@e.org",
        plain_body="x",
        content='<img src="cid:mxcid:0.png">',
        attachments=attached(INLINE, NORMAL),
    )
    first = composed(message, PNG, PNG)
    assert composed(message, PNG, PNG).raw == first.raw
    other = composed(message, PNG, PNG, internet_message_id="<other@example.org>")
    assert read(other).get_boundary() != read(first).get_boundary()
    utc = composed(message, PNG, PNG, date=DATE.astimezone(UTC))
    assert parsedate_to_datetime(read(utc)["Date"]) == DATE


# --- Attachments and inline images --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("report.pdf", "report.pdf"),
        ("two words (1).pdf", "two words (1).pdf"),
        ('a"b;c=d.pdf', 'a"b;c=d.pdf'),
        ("Größe 漢字 🎉.pdf", "Größe 漢字 🎉.pdf"),
        ("x" * 250 + ".pdf", "x" * 250 + ".pdf"),
        ("漢" * 250 + ".pdf", "漢" * 250 + ".pdf"),
        ("100%'*.pdf", "100%'*.pdf"),
        ("=?utf-8?q?x?=.pdf", "=?utf-8?q?x?=.pdf"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("C:\\temp\\a.pdf", "C:_temp_a.pdf"),
        ("fdp\u202eexe.pdf", "fdpexe.pdf"),
        ("a\tb.pdf", "ab.pdf"),
        ("/", "_"),
        ("\u202e", "attachment"),
    ],
)
def test_attachment_names(name: str, sent: str) -> None:
    message = mail_to(to="a@e.org", plain_body="x", attachments=[Attachment(name=name, content="")])
    mail = composed(message, PNG)
    _, part = read(mail).iter_parts()
    assert part.get_filename() == sent
    assert part.get_payload(decode=True) == PNG
    assert mail.raw.isascii()
    assert_transportable(mail)
    if not name.isascii() and sent != "attachment":
        assert re.search(rb"filename\*(?:0\*)?=utf-8''", mail.raw) or sent.isascii()


@settings(deadline=None)
@example(b"", "<>", "text/plain")
@example(b"", '"x"', "text/plain")
@given(
    st.binary(max_size=5000),
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=255),
    st.sampled_from(["text/plain", "image/png", "message/rfc822", "multipart/mixed", "x/y+z"]),
)
def test_any_attachment_survives(content: bytes, name: str, content_type: str) -> None:
    attachment = Attachment(name=name, content_type=content_type, content="")
    message = mail_to(to="a@e.org", plain_body="x", attachments=[attachment])
    mail = composed(message, content)
    assert_transportable(mail)
    _, part = read(mail).iter_parts()
    assert part.get_payload(decode=True) == content
    composite = content_type.startswith(("message", "multipart"))
    assert part.get_content_type() == ("application/octet-stream" if composite else content_type)
    # The standard library takes a pair of these away, whether or not they are the header's.
    quoted = name[0] + name[-1] in ("<>", '""')
    if not quoted and not set(name) & set(
        "/\\\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
    ):
        assert part.get_filename() == (name.strip() or "attachment")


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("test.png", '<img src="cid:mxcid:test.png" width="530">'),
        ("test.png", "<img src='cid:mxcid:test.png'>"),
        ("test.png", "<img src=cid:mxcid:test.png>"),
        ("test.png", '<img src="CID:MXCID:test.png">'),
        ("test.png", '<img src=" cid:mxcid:test.png ">'),
        ("test.png", '<td style="background: url(cid:mxcid:test.png)">'),
        ("test.png", "<td style=\"background: url('cid:mxcid:test.png')\">"),
        ("test.png", '<td style="background: url(&quot;cid:mxcid:test.png&quot;)">'),
        ("my logo (1).png", '<img src="cid:mxcid:my logo (1).png">'),
        ("my logo.png", '<img src="cid:mxcid:my%20logo.png">'),
        ("my%20logo.png", '<img src="cid:mxcid:my%20logo.png">'),
        ("größe.png", '<img src="cid:mxcid:größe.png">'),
        ("größe.png", '<img src="cid:mxcid:gr%C3%B6%C3%9Fe.png">'),
        ("a&b.png", '<img src="cid:mxcid:a&amp;b.png">'),
    ],
)
def test_inline_images_are_found(name: str, reference: str) -> None:
    picture = Attachment(name=name, content_type="image/png", position=INLINE, content="")
    message = mail_to(to="a@e.org", content=f"<p>{reference}</p>", attachments=[picture])
    root, part = read(composed(message, PNG)).iter_parts()
    content_id = part["Content-ID"].strip("<>")
    assert f"cid:{content_id}" in text_of(root)
    assert "mxcid" not in text_of(root)
    expected = re.sub('(?i) ?cid:mxcid:[^"\'>]*?(?=["\'>&]|\\)")', f"cid:{content_id}", reference)
    if "(1)" not in name and "&" not in name:
        assert text_of(root).rstrip("\n") == f"<p>{expected}</p>"


def test_each_reference_has_its_own_image() -> None:
    message = mail_to(
        to="a@e.org",
        content='<img src="cid:mxcid:1.png"><img src="cid:mxcid:0.png"><img src="cid:mxcid:1.png">',
        attachments=attached(INLINE, INLINE, INLINE),
    )
    root, *pictures = read(composed(message, b"0", b"1", b"2")).iter_parts()
    by_id = {p["Content-ID"].strip("<>"): p.get_payload(decode=True) for p in pictures}
    assert len(by_id) == 3
    found = re.findall(r'<img src="cid:([^"]*)">', text_of(root))
    assert [by_id[content_id] for content_id in found] == [b"1", b"0", b"1"]


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        ('"cid:mxcid:missing.png"', "'missing.png'"),
        ('"cid:mxcid:normal.png"', "'normal.png'"),
        ('"cid:mxcid:"', "''"),
        ("cid:mxcid:", "''"),
        ('"cid:mxcid:' + "x" * 200 + '"', "'" + "x" * 79 + "…'"),
    ],
)
def test_a_missing_image_is_named(reference: str, named: str) -> None:
    normal = Attachment(name="normal.png", content="")
    message = mail_to(to="a@e.org", content=f"<img src={reference}>", attachments=[normal])
    with pytest.raises(ConnectorError) as caught:
        composed(message, b"")
    assert caught.value.type is ErrorType.INVALID_INPUT
    assert caught.value.field == "message.content"
    assert named in caught.value.message


def test_references_in_html_that_is_not_sent_do_not_matter() -> None:
    message = mail_to(
        to="a@e.org", plain_body="x", content="cid:mxcid:none", use_only_plain_text=True
    )
    assert shape(read(composed(message))) == TEXT


@pytest.mark.parametrize(
    "pattern", ['"cid:mxcid:', "'cid:mxcid:", '" ', "cid:mxcid:a ", "&quot;", '"', "cid:mxcid:&"]
)
def test_hostile_html_takes_linear_time(pattern: str) -> None:
    page = (pattern * 500_000)[:500_000]
    message = mail_to(to="a@e.org", content=page)
    # Reading each reference to the end of the page would take hours.
    with contextlib.suppress(ConnectorError):
        assert_transportable(composed(message))
