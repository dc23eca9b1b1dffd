"""Threads, lists, automatic origin and custom fields, as an independent reader sees them."""

from __future__ import annotations

import re
from email.header import decode_header, make_header
from typing import Any

import pytest
from pydantic import ValidationError

from activities.mail.compose_fields import Thread, thread_of
from activities.mail.parse import parse
from activities.ports import ComposedMail, ThreadParent
from models.custom_headers import MAX_HEADERS
from models.errors import ConnectorError, ErrorType
from models.header_fields import MAX_REFERENCES
from models.message import EmailMessage
from tests.unit.test_compose import assert_transportable, composed, mail_to, read


def mail(**values: Any) -> EmailMessage:
    return mail_to("a@example.net", plain_body="x", **values)


def field(sent: ComposedMail, name: str) -> str | None:
    """The unfolded value of a field."""
    found = re.findall(rb"^%b:((?:.|\r\n )*)\r\n" % name.encode(), sent.raw, re.MULTILINE)
    assert len(found) <= 1
    return found[0].decode("ascii").replace("\r\n", "").strip() if found else None


def refused(**values: Any) -> str:
    """The field that is named when a mail is refused."""
    with pytest.raises(ValidationError) as caught:
        mail(**values)
    (problem,) = caught.value.errors(include_url=False)
    where = [str(part) for part in problem["loc"]]
    return ".".join(where) or problem["msg"].removeprefix("Value error, ").partition(":")[0]


# --- Threads ------------------------------------------------------------------------------------


def test_a_plain_mail_says_nothing_of_all_this() -> None:
    sent = composed(mail())
    names = {name.lower() for name in read(sent).keys()}  # noqa: SIM118 - repeated names count
    assert not names & {
        "in-reply-to", "references", "list-unsubscribe", "list-unsubscribe-post", "auto-submitted",
    }  # fmt: skip
    assert (sent.in_reply_to, sent.references) == (None, ())


def test_a_reply_by_message_ids() -> None:
    sent = composed(mail(in_reply_to="<b@x.example>", references=["<a@x.example>"]))
    assert field(sent, "In-Reply-To") == "<b@x.example>"
    assert field(sent, "References") == "<a@x.example> <b@x.example>"
    assert (sent.in_reply_to, sent.references) == (
        "<b@x.example>",
        ("<a@x.example>", "<b@x.example>"),
    )
    received = parse(sent.raw)
    assert (received.in_reply_to, received.references) == (sent.in_reply_to, sent.references)


@pytest.mark.parametrize(
    ("in_reply_to", "references", "expected"),
    [
        (None, ["<a@x>", "<b@x>"], ["<a@x>", "<b@x>"]),
        ("<b@x>", [], ["<b@x>"]),
        ("<b@x>", ["<a@x>", "<b@x>"], ["<a@x>", "<b@x>"]),
        ("<b@x>", ["<b@x>", "<a@x>", "<a@x>"], ["<a@x>", "<b@x>"]),
    ],
)
def test_references_end_with_the_parent(
    in_reply_to: str | None, references: list[str], expected: list[str]
) -> None:
    thread = thread_of(mail(in_reply_to=in_reply_to, references=references), None)
    assert thread == Thread(in_reply_to, tuple(expected))


def test_a_long_thread_keeps_its_first_and_its_newest() -> None:
    names = [f"<{n}.{'x' * 200}@x.example>" for n in range(MAX_REFERENCES)]
    sent = composed(mail(in_reply_to="<last@x.example>", references=names))
    assert sent.references == (names[0], *names[2:], "<last@x.example>")
    assert_transportable(sent)
    assert field(sent, "References") == " ".join(sent.references)


@pytest.mark.parametrize(
    "identifier",
    ["a@x", "<a>", "<a@x", "<a b@x>", "<a@x> <b@x>", "<a@x>\r\nX: y", "<ü@x>", "<a..b@x>", "<@x>",
     "<a@>", "<a@[x]y>", '<"a"@x>', "<a@b@c>", "<" + "a" * 900 + "@x>", ""],
)  # fmt: skip
def test_only_message_ids_are_taken(identifier: str) -> None:
    assert refused(in_reply_to=identifier) == "in_reply_to"
    assert refused(references=["<a@x>", identifier]) == "references.1"


@pytest.mark.parametrize("identifier", ["<a.b$c+d@x.example>", "<1@[192.0.2.1]>", "<!@x>"])
def test_strict_message_ids(identifier: str) -> None:
    assert field(composed(mail(in_reply_to=identifier)), "In-Reply-To") == identifier


# What mail programs really write is repeated as it is; what is no identifier at all is left out.
PARENTS = [
    (ThreadParent("<p@x>"), "<p@x>", ["<p@x>"]),
    (ThreadParent("<p@x>", "<o@x>"), "<p@x>", ["<o@x>", "<p@x>"]),
    (ThreadParent("<p@x>", "<z@x>", ("<n@x>", "<o@x>")), "<p@x>", ["<n@x>", "<o@x>", "<p@x>"]),
    (ThreadParent("<no at, a..b>"), None, []),
    (ThreadParent("<a..b[c]@>"), "<a..b[c]@>", ["<a..b[c]@>"]),
    (ThreadParent(None, None, ("<n@x>",)), None, ["<n@x>"]),
    (ThreadParent("no brackets", "<o@x>", ()), None, ["<o@x>"]),
    (ThreadParent("<p@x>", None, ("<n\r\nX: y@x>", "<ü@x>", "x")), "<p@x>", ["<p@x>"]),
    (ThreadParent(f"<{'x' * 990}@x>"), None, []),
]


@pytest.mark.parametrize(("parent", "in_reply_to", "references"), PARENTS)
def test_a_reply_to_a_stored_mail(
    parent: ThreadParent, in_reply_to: str | None, references: list[str]
) -> None:
    sent = composed(mail(reply_of="m1"), parent=parent)
    assert (sent.in_reply_to, list(sent.references)) == (in_reply_to, references)
    assert field(sent, "In-Reply-To") == in_reply_to
    assert field(sent, "References") == (" ".join(references) or None)
    assert_transportable(sent)


@pytest.mark.parametrize(("parent", "_", "references"), PARENTS)
def test_a_forward_is_no_reply(parent: ThreadParent, _: object, references: list[str]) -> None:
    sent = composed(mail(forward_of="m1"), parent=parent)
    assert (sent.in_reply_to, list(sent.references)) == (None, references)
    assert field(sent, "In-Reply-To") is None


def test_a_parent_that_was_not_read_is_a_bug_of_ours() -> None:
    with pytest.raises(ConnectorError) as caught:
        composed(mail(reply_of="m1"))
    assert caught.value.type is ErrorType.INTERNAL


def test_a_thread_is_said_in_one_way() -> None:
    assert refused(reply_of="m1", forward_of="m2") == "forward_of"
    assert refused(reply_of="m1", in_reply_to="<a@x>") == "reply_of"
    assert refused(forward_of="m1", references=["<a@x>"]) == "forward_of"


# --- Lists --------------------------------------------------------------------------------------

URL = "https://news.example.org/leave?u=1,2&t=a%20b"
MAILTO = "mailto:leave@news.example.org?subject=unsubscribe%204711"


@pytest.mark.parametrize(
    ("ways", "expected", "post"),
    [
        ({"url": URL}, f"<{URL}>", None),
        ({"mailto": MAILTO}, f"<{MAILTO}>", None),
        (
            {"url": URL, "mailto": MAILTO, "one_click": True},
            f"<{URL}>, <{MAILTO}>",
            "List-Unsubscribe=One-Click",
        ),
    ],
)
def test_ways_to_leave(ways: dict[str, Any], expected: str, post: str | None) -> None:
    sent = composed(mail(list_unsubscribe=ways))
    assert field(sent, "List-Unsubscribe") == expected
    assert field(sent, "List-Unsubscribe-Post") == post
    assert_transportable(sent)


@pytest.mark.parametrize(
    ("ways", "named"),
    [
        ({}, "list_unsubscribe"),
        ({"one_click": True}, "list_unsubscribe"),
        ({"mailto": MAILTO, "one_click": True}, "list_unsubscribe"),
        *(
            ({"url": url}, "list_unsubscribe.url")
            for url in (
                "http://x.example/", "https://", "https://x.example/a b", "https://x.example/>",
                "https://x.example/\r\nBcc: a@x", "https://user@x.example/", "https://ü.example/",
                "javascript:x", "https://x.example/" + "a" * 900, MAILTO,
            )
        ),
        *(
            ({"mailto": url}, "list_unsubscribe.mailto")
            for url in (
                "mailto:", "mailto:a", "a@x.example", "mailto:a@x.example?cc=b@x.example",
                "mailto:a@x.example,b@x.example", "mailto:a@x.example?subject=a b",
                "mailto:a@x.example?subject=x&bcc=b@x.example", "mailto:a@x.example>", URL,
            )
        ),
    ],
)  # fmt: skip
def test_no_other_way_to_leave(ways: dict[str, Any], named: str) -> None:
    assert refused(list_unsubscribe=ways) == named


# --- Automatic mail -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "sender"), [("auto-generated", "shop@example.org"), ("auto-replied", "")]
)
def test_automatic_mail(kind: str, sender: str) -> None:
    sent = composed(mail(auto_submitted=kind))
    assert field(sent, "Auto-Submitted") == kind
    assert sent.envelope_from == sender
    assert read(sent)["From"] == "Web Shop <shop@example.org>"


def test_nobody_is_told_of_an_automatic_answer() -> None:
    answer = {"auto_submitted": "auto-replied"}
    assert refused(**answer, delivery_status={"notify": ["failure"]}) == "delivery_status"
    mail(**answer, delivery_status={"notify": ["never"]})
    mail(auto_submitted="auto-generated", delivery_status={"notify": ["failure"]})


@pytest.mark.parametrize(
    "status",
    [{}, {"notify": []}, {"notify": ["never", "delay"]}, {"notify": ["delay", "delay"]},
     {"notify": ["sometimes"]}, {"ret": "hdrs"}],
)  # fmt: skip
def test_reports_that_nobody_can_ask_for(status: dict[str, Any]) -> None:
    assert refused(delivery_status=status).startswith("delivery_status")


# --- Custom fields ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("X-Order", "4711", "4711"),
        ("x-order", '{"a":1, "b":[2]}', '{"a":1, "b":[2]}'),
        ("X-Long", "a" * 900, "a" * 900),
        ("Importance", "High", "High"),
        ("Priority", "urgent", "urgent"),
        ("X-Priority", "1 (Highest)", "1 (Highest)"),
        ("Sensitivity", "Company-Confidential", "Company-Confidential"),
        ("Precedence", "bulk", "bulk"),
        ("Feedback-ID", "campaign:customer:mail:sender", "campaign:customer:mail:sender"),
        ("List-Id", "<news.example.org>", "<news.example.org>"),
        ("List-Id", '"News, daily" <news.example.org>', '"News, daily" <news.example.org>'),
        ("List-Post", "NO", "NO"),
        ("List-Help", "<https://x.example/a>, <mailto:a@x.example>",
         "<https://x.example/a>, <mailto:a@x.example>"),
        ("X-Auto-Response-Suppress", "OOF, AutoReply", "OOF, AutoReply"),
        ("Keywords", "a,b c", "a, b c"),
        ("Keywords", 'say "x", y', r'"say \"x\"", y'),
    ],
)  # fmt: skip
def test_fields_of_ones_own(name: str, value: str, written: str) -> None:
    sent = composed(mail(headers={name: value}))
    assert field(sent, name) == written
    assert_transportable(sent)


@pytest.mark.parametrize(
    "value", ["Büro Köln", "漢字 " * 300, "two  spaces", "=?utf-8?q?x?=", "a\tb", "a" * 1500, " x "]
)
@pytest.mark.parametrize("name", ["Comments", "Organization", "X-Own", "X-" + "n" * 74])
def test_any_text_survives(name: str, value: str) -> None:
    sent = composed(mail(headers={name: value}))
    assert_transportable(sent)
    assert max(map(len, sent.raw.split(b"\r\n\r\n")[0].split(b"\r\n"))) <= 78
    written = field(sent, name)
    assert written is not None
    assert str(make_header(decode_header(written))) == value


def test_each_keyword_is_encoded_on_its_own() -> None:
    written = field(composed(mail(headers={"Keywords": "Größe, plain, Maß"})), "Keywords")
    assert written is not None
    assert [str(make_header(decode_header(word))) for word in written.split(", ")] == [
        "Größe", "plain", "Maß",
    ]  # fmt: skip


OWNED = [
    "From", "To", "Cc", "Bcc", "Reply-To", "Sender", "Subject", "Date", "Message-ID",
    "In-Reply-To", "References", "MIME-Version", "Content-Type", "Content-Transfer-Encoding",
    "Content-Disposition", "Content-ID", "Content-Language", "List-Unsubscribe",
    "List-Unsubscribe-Post", "Auto-Submitted",
]  # fmt: skip
ROUTING = [
    "Return-Path", "Received", "Resent-To", "Resent-From", "Resent-Bcc", "Delivered-To",
    "Envelope-To", "Apparently-To", "Errors-To", "Return-Receipt-To", "Disposition-Notification-To",
    "DKIM-Signature", "ARC-Seal", "Authentication-Results", "X-Envelope-From", "X-SMTPAPI",
    "X-MC-BccAddress", "X-Original-To", "X-Forwarded-To", "X-MS-Exchange-Organization-SCL",
    "X-Google-Original-From", "X-SES-SOURCE-ARN", "Original-Recipient", "Unknown",
]  # fmt: skip
NO_NAMES = ["", "X-", "X A", "X:A", "X-A:", "X-Ä", "X-A\r\nB", "-X", "X-" + "a" * 75, "\x00"]


@pytest.mark.parametrize("name", [*OWNED, *ROUTING, *NO_NAMES])
@pytest.mark.parametrize("spelling", [str, str.lower, str.upper])
def test_no_other_name(name: str, spelling: Any) -> None:
    assert refused(headers={spelling(name): "x"}) == "headers"


@pytest.mark.parametrize(
    "headers",
    [
        {"Importance": "very"},
        {"X-Priority": "6"},
        {"Precedence": "first-class"},
        {"List-Id": "news"},
        {"List-Id": "<news>"},
        {"List-Help": "https://x.example"},
        {"List-Help": "<https://x.example/>, <javascript:x>"},
        {"Feedback-ID": "a b"},
        {"Feedback-ID": "ä"},
        {"Thread-Index": "a b"},
        {"Archived-At": f"<https://x.example/{'a' * 900}>"},
        {"X-A": ""},
        {"X-A": "  "},
        {"X-A": "1", "x-a": "2"},
        {f"X-{n}": "v" for n in range(MAX_HEADERS + 1)},
        {f"X-{n}": "v" * 1990 for n in range(9)},
    ],
    ids=str,
)
def test_values_and_numbers_have_bounds(headers: dict[str, str]) -> None:
    assert refused(headers=headers) == "headers"


@pytest.mark.parametrize(
    "value", ["a\r\nBcc: b@x", "a\nb", "a\rb", "a\x00b", "a\u2028b", "v" * 2001]
)
def test_values_have_one_line(value: str) -> None:
    assert refused(headers={"X-A": value}) == "headers.X-A"


@pytest.mark.parametrize(
    "value", ["a " * 1000, '"' * 2000, "<" * 2000, "a." * 1000, "<a" + ".a" * 900]
)
def test_forms_are_checked_in_linear_time(value: str) -> None:
    refused(headers={"List-Id": value})


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"X-A": "1", "hunter2": "x"}, "header 2: this header field cannot be set"),
        ({"hunter2 hunter2": "x"}, "header 1: a name consists of"),
        ({"X-hunter2": " "}, "header 1: the value is empty"),
        ({"Subject": "x"}, "Subject: this header field is set by the mail's own field subject"),
        ({"List-Id": "hunter2"}, "List-Id: the value does not have the form"),
    ],
)
def test_what_is_refused_is_not_repeated(headers: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        mail(headers=headers)
    (problem,) = caught.value.errors(include_url=False)
    assert said in problem["msg"]
    assert "hunter2" not in problem["msg"]


def test_no_keywords_are_no_field() -> None:
    with pytest.raises(ConnectorError) as caught:
        composed(mail(headers={"Keywords": ", ,"}))
    assert (caught.value.type, caught.value.field) == (ErrorType.INVALID_INPUT, "message.headers")
