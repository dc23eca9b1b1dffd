"""Reading mail as it came in: own ugly mails, hand-written."""

from __future__ import annotations

import base64
import email.message
import email.policy
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.mail.parse import parse, parse_many
from activities.ports import ParsedMail, ParsedPart
from models.message import AttachmentPosition

NORMAL, INLINE = AttachmentPosition.NORMAL, AttachmentPosition.INLINE


def mail(*lines: str | bytes) -> bytes:
    """A mail of these lines, CRLF between them."""
    return b"\r\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)


def one(*header: str | bytes, body: str | bytes = "text") -> ParsedMail:
    return parse(mail(*header, "", body))


# --- The whole ----------------------------------------------------------------------------------


def test_an_ordinary_mail() -> None:
    read = parse(
        mail(
            'From: "Quinn, Ada" <ada@example.org>',
            "To: Bo <bo@example.net>, cy@example.com",
            "Cc: team: d@example.com, E <e@example.com>;",
            "Reply-To: replies@example.org",
            "Subject: Minutes",
            "Date: Tue, 03 Mar 2026 10:20:30 +0130",
            "Message-ID: <1@example.org>",
            "In-Reply-To: <0@example.net>",
            "References: <00@example.net>",
            " <0@example.net>",
            "MIME-Version: 1.0",
            'Content-Type: multipart/mixed; boundary="b1"',
            "",
            "Not shown.",
            "--b1",
            'Content-Type: multipart/alternative; boundary="b2"',
            "",
            "--b2",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: quoted-printable",
            "",
            "Gr=C3=BC=C3=9Fe,=",
            " Ada",
            "--b2",
            "Content-Type: text/html; charset=utf-8",
            "",
            '<p>Grüße</p><img src="cid:logo@x">',
            "--b2--",
            "--b1",
            "Content-Type: image/png",
            "Content-ID: <logo@x>",
            "Content-Transfer-Encoding: base64",
            "",
            "iVBORw0K",
            "--b1",
            'Content-Type: application/pdf; name="minutes.pdf"',
            "Content-Disposition: attachment",
            "Content-Transfer-Encoding: base64",
            "",
            "JVBERi0=",
            "--b1--",
            "Not shown either.",
        )
    )
    assert read == ParsedMail(
        message_id="<1@example.org>",
        in_reply_to="<0@example.net>",
        references=("<00@example.net>", "<0@example.net>"),
        subject="Minutes",
        from_=(("Quinn, Ada", "ada@example.org"),),
        to=(("Bo", "bo@example.net"), ("", "cy@example.com")),
        cc=(("", "d@example.com"), ("E", "e@example.com")),
        reply_to=(("", "replies@example.org"),),
        date=datetime(2026, 3, 3, 8, 50, 30, tzinfo=UTC),
        text="Grüße, Ada",
        html='<p>Grüße</p><img src="cid:logo@x">',
        parts=(
            ParsedPart("part-1.png", "image/png", INLINE, b"\x89PNG\r\n", "logo@x"),
            ParsedPart("minutes.pdf", "application/pdf", NORMAL, b"%PDF-"),
        ),
    )


def test_results_keep_their_places() -> None:
    reads = parse_many([mail("Subject: 1", "", "a"), b"", mail("Subject: 2", "", "b")])
    assert [read.subject for read in reads] == ["1", "", "2"]
    assert [read.quarantined for read in reads] == [None, "empty", None]


@pytest.mark.parametrize("raw", [b"", b" ", b"\r\n \r\n", b"\r", b"\n"])
def test_nothing_is_quarantined_or_empty(raw: bytes) -> None:
    read = parse(raw)
    assert read.quarantined == "empty" or not read.text
    assert read.subject == ""


def test_line_ends_do_not_matter() -> None:
    crlf = mail("Subject: a", " b", "Content-Type: text/html", "", "<p>x</p>")
    expected = parse(crlf)
    assert parse(crlf.replace(b"\r\n", b"\n")) == expected
    assert parse(crlf.replace(b"\r\n", b"\r")) == expected
    assert expected.subject == "a b"
    assert expected.html == "<p>x</p>"


# --- Bodies -------------------------------------------------------------------------------------


def multipart(kind: str, *parts: str, boundary: str = "x") -> str:
    inner = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts)
    return f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\n{inner}--{boundary}--\r\n'


def plain(text: str, *more: str) -> str:
    return "\r\n".join(["Content-Type: text/plain", *more, "", text])


def html(text: str, *more: str) -> str:
    return "\r\n".join(["Content-Type: text/html", *more, "", text])


def binary(name: str = "f.bin", *more: str) -> str:
    return "\r\n".join([f'Content-Type: application/x-f; name="{name}"', *more, "", "data"])


SHOWN = [
    (plain("a"), "a", None, []),
    (html("<b>a</b>"), None, "<b>a</b>", []),
    (multipart("alternative", plain("a"), html("h")), "a", "h", []),
    (multipart("mixed", plain("a"), binary()), "a", None, ["f.bin"]),
    # A list's footer after the body is body, too.
    (multipart("mixed", plain("a"), binary(), plain("b")), "a\nb", None, ["f.bin"]),
    # A named text after the first part is a file, however it is disposed.
    (
        multipart("mixed", plain("a"), plain("b", "Content-Disposition: inline; filename=b.txt")),
        "a",
        None,
        ["b.txt"],
    ),
    (
        multipart("mixed", plain("a"), html("h", "Content-Disposition: attachment")),
        "a",
        None,
        ["part-1.html"],
    ),
    (
        multipart(
            "mixed",
            multipart(
                "related",
                multipart("alternative", plain("a"), html("h"), boundary="z"),
                binary("pic"),
                boundary="y",
            ),
            binary(),
        ),
        "a",
        "h",
        ["pic", "f.bin"],
    ),
    (
        multipart(
            "alternative",
            plain("a"),
            multipart("related", html("h"), binary("pic"), boundary="y"),
        ),
        "a",
        "h",
        ["pic"],
    ),
    # The text that a html is related to is no body of its own.
    (
        multipart("related", html("h"), plain("a")),
        None,
        "h",
        ["part-1.txt"],
    ),
    (multipart("mixed", html("1"), binary(), html("2")), None, "1\n2", ["f.bin"]),
    (multipart("report", plain("a"), "Content-Type: message/delivery-status\r\n\r\nStatus: 5"),
     "a", None, ["part-1.txt"]),
    (binary(), None, None, ["f.bin"]),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "text", "page", "names"), SHOWN)
def test_what_is_shown(raw: str, text: str | None, page: str | None, names: list[str]) -> None:
    read = parse(raw.encode())
    assert read.text == text
    assert read.html == page
    assert [part.name for part in read.parts] == names


def test_positions() -> None:
    read = parse(
        multipart(
            "mixed",
            html('<img src="cid:a@x"><img src="cid:d%40x">'),
            binary("a", "Content-ID: <a@x>", "Content-Disposition: attachment"),
            binary("b", "Content-ID: <b@x>", "Content-Disposition: attachment"),
            binary("c", "Content-ID: <c@x>"),
            binary("d", "Content-Id:  d@x ", "Content-Disposition: ATTACHMENT"),
            binary("e", "Content-Disposition: inline"),
            binary("f"),
        ).encode()
    )
    assert [(part.name, part.position, part.content_id) for part in read.parts] == [
        ("a", INLINE, "a@x"),
        ("b", NORMAL, "b@x"),
        ("c", INLINE, "c@x"),
        ("d", INLINE, "d@x"),
        ("e", INLINE, None),
        ("f", NORMAL, None),
    ]


def test_an_enclosed_mail_is_a_file() -> None:
    inner = mail("Subject: =?utf-8?q?a/b:_=C3=BC?=", "", "inner")
    read = parse(
        multipart(
            "mixed",
            plain("outer"),
            "Content-Type: message/rfc822\r\n\r\n" + inner.decode(),
            "Content-Type: message/rfc822\r\n\r\nX: y\r\n\r\nz",
            "Content-Type: message/rfc822; name=given.eml\r\n\r\nX: y\r\n\r\nz",
        ).encode()
    )
    assert read.text == "outer"
    assert [part.name for part in read.parts] == ["a_b_ ü.eml", "message.eml", "given.eml"]
    assert read.parts[0].data == inner


def test_a_digest_holds_mails() -> None:
    read = parse(
        multipart("digest", "\r\nSubject: one\r\n\r\n1", "\r\nSubject: two\r\n\r\n2").encode()
    )
    assert [part.name for part in read.parts] == ["one.eml", "two.eml"]


def test_uuencoded_files_in_the_text() -> None:
    read = one(
        "Subject: x",
        body="before\r\nbegin 644 a.txt\r\n#0V%T\r\n`\r\nend\r\nbetween\r\nbegin 644 not\r\nat all",
    )
    assert read.text == "before\r\nbetween\r\nbegin 644 not\r\nat all"
    assert [(part.name, part.data) for part in read.parts] == [("a.txt", b"Cat")]


# --- Damage -------------------------------------------------------------------------------------


def test_missing_end_boundary() -> None:
    raw = multipart("mixed", plain("a"), binary()).encode()
    read = parse(raw[: raw.rindex(b"--x--")])
    assert (read.text, len(read.parts)) == ("a", 1)


def test_boundary_that_begins_with_another() -> None:
    read = parse(
        multipart(
            "mixed",
            multipart("alternative", plain("a"), html("h"), boundary="xx-1"),
            binary(),
            boundary="xx",
        ).encode()
    )
    assert (read.text, read.html, len(read.parts)) == ("a", "h", 1)


def test_boundary_line_with_something_after_it() -> None:
    read = parse(
        mail("Content-Type: multipart/mixed; boundary=q", "", "--q  ", "", "a", "--q-->", "junk")
    )
    assert (read.text, read.parts) == ("a", ())


def test_boundary_with_spaces_at_its_end() -> None:
    read = parse(mail('Content-Type: multipart/mixed; boundary="q "', "", "--q", "", "a", "--q--"))
    assert read.text == "a"


def test_types_that_are_none() -> None:
    assert parse(mail("Content-Type: multipart/*; boundary=q", "", "--q", "", "a")).text == "a"
    assert parse(mail("Content-Type: text", "", "a")).text == "a"
    assert parse(mail("Content-Type: a b c", "", "a")).text == "a"
    assert parse(mail("Content-Type: ", "", "a")).text == "a"
    assert parse(mail("Content-Type: text / html", "", "a")).html == "a"


def test_boundary_not_named() -> None:
    read = parse(mail("Content-Type: multipart/mixed", "", "--q", "", "a", "--q", "", "b", "--q--"))
    assert read.text == "a\nb"


def test_multipart_without_any_delimiter_is_text() -> None:
    assert parse(mail("Content-Type: multipart/mixed; boundary=q", "", "text")).text == "text"


def test_empty_parts() -> None:
    read = parse(mail("Content-Type: multipart/mixed; boundary=q", "", "--q", "--q", "--q--"))
    assert read.quarantined is None


HEADERS = [
    # An mbox separator, a bare line, an unindented fold, white space for an empty line.
    (mail("From someone Mon Jan 1", "Subject: s", "", "body"), "s", "body"),
    (mail("Subject: s", "no field", "body"), "s", "no field\r\nbody"),
    (mail("Subject: s", "no field", "To: a@example.org", "", "body"), "s", "body"),
    (mail("Subject: s", " ", "body", "more"), "s", "body\r\nmore"),
    (mail("Subject: s", " ", " t", "", "body"), "s t", "body"),
    (mail("subject : s", "", "body"), "s", "body"),
    (mail("SUBJECT: s", "Subject: t", "", "body"), "s", "body"),
    (mail("", "Subject: s", "", "body"), "", "Subject: s\r\n\r\nbody"),
    (mail("no header at all"), "", "no header at all"),
    (mail("Subject: s"), "s", ""),
    (b"Subject: s\r\n\nbody", "s", "body"),
    (b"Subject: s\n\r\nbody", "s", "body"),
    (b"\xef\xbb\xbfSubject: s\r\n\r\nbody", "s", "body"),
]


@pytest.mark.parametrize(("raw", "subject", "text"), HEADERS)
def test_ragged_headers(raw: bytes, subject: str, text: str) -> None:
    read = parse(raw)
    assert (read.subject, read.text) == (subject, text)
    assert read.quarantined is None


def test_a_mail_cut_anywhere_is_read() -> None:
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["Subject"] = "Ünïcode " * 10
    message["From"] = "Zoë <z@example.org>"
    message.set_content("text €")
    message.add_alternative("<p>html €</p>", subtype="html")
    message.add_attachment(b"\0\1\2" * 99, maintype="image", subtype="png", filename="ä.png")
    raw = message.as_bytes()
    for end in range(len(raw)):
        read = parse(raw[:end])
        assert read.quarantined in (None, "empty")


# --- Transfer encodings -------------------------------------------------------------------------

LONG = base64.encodebytes(bytes(range(256)) * 8)
TRANSFERRED = [
    ("base64", b"Y2F0", b"cat"),
    ("BASE64", b"Y2F0", b"cat"),
    (" base64 ", b"Y2F0", b"cat"),
    ("base64", b"Y2\r\nF0\r\n", b"cat"),
    ("base64", b"Y2F0Y2", b"catc"),
    ("base64", b"Y2F0Y2E", b"catca"),
    ("base64", b"Y2F0Y", b"cat"),
    ("base64", b"Y2E=Y2E=", b"caca"),
    ("base64", b"Y2E=\r\n_______________\r\na mailing list", b"ca"),
    ("base64", b"Y2F0!?", b"cat"),
    ("base64", b"", b""),
    ("base64", LONG, bytes(range(256)) * 8),
    ("base64", LONG[:1501], (bytes(range(256)) * 8)[: (1501 - LONG[:1501].count(b"\n")) * 6 // 8]),
    ("quoted-printable", b"c=61t", b"cat"),
    ("quoted-printable", b"c=\r\nat", b"cat"),
    ("quoted-printable", b"c= \r\nat", b"cat"),
    ("quoted-printable", b"c=\nat", b"cat"),
    ("quoted-printable", b"cat=", b"cat"),
    ("quoted-printable", b"=ZZ=4", b"=ZZ=4"),
    ("quoted-printable", b"\xfc=FC", b"\xfc\xfc"),
    ("quoted-printable", b"a\r\nb =\r\n", b"a\r\nb "),
    ("7bit", b"=61", b"=61"),
    ("8bit", b"\xff\x00", b"\xff\x00"),
    ("x-unheard-of", b"=61", b"=61"),
    ("x-uuencode", b"begin 644 x\r\n#0V%T\r\n`\r\nend", b"Cat"),
    ("x-uuencode", b"nothing", b"nothing"),
]


@pytest.mark.parametrize(("encoding", "data", "expected"), TRANSFERRED)
def test_transfer_encodings(encoding: str, data: bytes, expected: bytes) -> None:
    read = parse(
        mail("Content-Type: application/x-f", f"Content-Transfer-Encoding: {encoding}", "", data)
    )
    assert read.parts[0].data == expected


@given(st.binary(max_size=5000), st.sampled_from(["base64", "quoted-printable", "8bit"]))
def test_what_the_standard_library_wrote_is_read(data: bytes, encoding: str) -> None:
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message.set_content(data, maintype="application", subtype="x-f", cte="base64")
    if encoding == "quoted-printable" and b"\n" not in data and b"\r" not in data:
        message.set_content(data, maintype="application", subtype="x-f", cte=encoding)
    assert parse(message.as_bytes()).parts[0].data.rstrip(b"\r\n") == data.rstrip(b"\r\n")


# --- Charsets -----------------------------------------------------------------------------------

CHARSETS = [
    ("utf-8", "Grüße".encode(), "Grüße"),
    ("UTF8", "Grüße".encode(), "Grüße"),
    ("iso-8859-1", "Grüße".encode("latin-1"), "Grüße"),
    ("iso-8859-1", b"\x93smart\x94", "“smart”"),
    ("iso-8859-15", b"\xa4", "€"),
    ("windows-1251", "Привет".encode("cp1251"), "Привет"),
    ("koi8-r", "Привет".encode("koi8-r"), "Привет"),
    ("gb2312", "你好镕".encode("gb18030"), "你好镕"),
    ("ks_c_5601-1987", "안녕".encode("cp949"), "안녕"),
    ("shift_jis", "①こんにちは".encode("cp932"), "①こんにちは"),
    ("iso-2022-jp", "こんにちは".encode("iso-2022-jp"), "こんにちは"),
    ("big5", "你好".encode("big5"), "你好"),
    ("utf-16", "Grüße".encode("utf-16"), "Grüße"),
    ("utf-7", b"Gr+APwA3w-e", "Grüße"),
    # Missing, wrong, unknown, malicious labels.
    (None, "Grüße".encode(), "Grüße"),
    (None, "Grüße".encode("latin-1"), "Grüße"),
    ("us-ascii", "Grüße".encode(), "Grüße"),
    ("us-ascii", "Grüße".encode("cp1252"), "Grüße"),
    ("iso-8859-1", "Ýü".encode(), "Ýü"),
    ("unknown-8bit", "Grüße".encode("cp1252"), "Grüße"),
    ("x-no-such", b"\x81\xfc", "\x81ü"),
    ("base64", b"Y2F0", "Y2F0"),
    ("rot13", b"png", "png"),
    ("idna", b"xn--a", "xn--a"),
    ("unicode_escape", b"\\x41", "\\x41"),
    ("utf-16", b"plain", "plain"),
    ("'utf-8'", "Grüße".encode(), "Grüße"),
    ("utf-8", b"cut \xc3", "cut �"),
    ("euc-kr", "안녕하세요".encode("cp949")[:-1], "안녕하세�"),
    ("utf-7", b"+2AA-", "??"),
    ("utf-8", b"\xef\xbb\xbfmarked", "marked"),
    ("\x00\xff", b"a", "a"),
    ("x" * 5000, b"\xe9", "é"),
]


@pytest.mark.parametrize(("label", "data", "expected"), CHARSETS)
def test_charset_ladder(label: str | None, data: bytes, expected: str) -> None:
    kind = "text/plain" if label is None else f'text/plain; charset="{label}"'
    read = parse(mail(f"Content-Type: {kind}", "", data))
    assert read.text is not None
    if expected == "??":
        read.text.encode()  # No lone surrogate.
    else:
        assert read.text == expected


@given(st.text(alphabet=st.characters(codec="ascii")) | st.sampled_from(["utf-7", "hz", "gbk"]))
def test_no_label_raises(label: str) -> None:
    read = parse(mail(f'Content-Type: text/plain; charset="{label}"', "", b"\xff\xfe+2AA-\x1b$B"))
    assert read.quarantined is None
    (read.text or "").encode()


# --- Encoded words and parameters ---------------------------------------------------------------

SUBJECTS = [
    ("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
    ("=?UTF-8?B?R3LDvMOfZQ==?=", "Grüße"),
    ("a =?utf-8?q?b?= c", "a b c"),
    ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
    ("=?utf-8?q?a?=\r\n =?utf-8?q?_b?=", "a b"),
    # A character split between two words; one without padding.
    ("=?utf-8?q?Gr=C3?= =?utf-8?q?=BC=C3=9Fe?=", "Grüße"),
    ("=?utf-8?b?R3LD?= =?utf-8?b?vMOfZQ?=", "Grüße"),
    ("=?iso-8859-1?q?Gr=FC?= =?utf-8?q?=C3=9Fe?=", "Grüße"),
    ("=?utf-8*de?q?Gr=C3=BC?=", "Grü"),
    ("=?no-such?q?abc?=", "abc"),
    ("=?no-such?q?=C3=BC?=", "ü"),
    ("=?utf-8?q?a b?=", "a b"),
    ("=?utf-8?q?why??=", "why?"),
    ("=?utf-8?q?unfinished", "=?utf-8?q?unfinished"),
    ("=?utf-8?x?a?=", "=?utf-8?x?a?="),
    ("=?=?utf-8?q?a?=", "=?a"),
    ("=?utf-8?q??=", ""),
    ("=?utf-8?b?!!!?=", ""),
    (b"raw \xc3\xbc", "raw ü"),
    (b"raw \xfc", "raw ü"),
    (b"=?iso-8859-1?q?Gr\xfc=DFe?=", "Grüße"),
    ("tab\tand\x00nul\x1b", "tab and nul"),
    ("fold\r\n \t  ed", "fold ed"),
]


@pytest.mark.parametrize(("value", "expected"), SUBJECTS)
def test_subjects(value: str | bytes, expected: str) -> None:
    raw = value if isinstance(value, bytes) else value.encode()
    assert one(b"Subject: " + raw).subject == expected


NAMES = [
    ("attachment; filename=a.txt", "a.txt"),
    ('attachment; filename="a b.txt"', "a b.txt"),
    ("attachment; filename=a b.txt", "a b.txt"),
    ('attachment; filename="a\\"b.txt"', 'a"b.txt'),
    ('attachment; filename="C:\\dir\\a.txt"', "C:\\dir\\a.txt"),
    ("attachment; FileName = a.txt ; size=3", "a.txt"),
    ('attachment; filename="unclosed.txt', "unclosed.txt"),
    ('attachment; filename="=?utf-8?q?=C3=BC.txt?="', "ü.txt"),
    ("attachment; filename==?utf-8?b?w7wudHh0?=", "ü.txt"),
    ('attachment; filename="=?utf-8?q?=C3?= =?utf-8?q?=BC.txt?="', "ü.txt"),
    ("attachment; filename*=utf-8''%C3%BC.txt", "ü.txt"),
    ("attachment; filename*=utf-8'de'%C3%BC.txt; filename=u.txt", "ü.txt"),
    ("attachment; filename*=iso-8859-1''%FC.txt", "ü.txt"),
    ("attachment; filename*=no-such''%C3%BC.txt", "ü.txt"),
    ("attachment; filename*=%C3%BC.txt", "ü.txt"),
    ("attachment; filename*=\"utf-8''%C3%BC.txt\"", "ü.txt"),
    ("attachment; filename*0=a; filename*1=b.txt", "ab.txt"),
    ("attachment; filename*1=b.txt; filename*0=a", "ab.txt"),
    # Octets of one character in two pieces, encoded and plain in turn.
    ("attachment; filename*0*=utf-8''%C3; filename*1*=%BC.txt", "ü.txt"),
    ("attachment; filename*0*=utf-8''%C3%BC; filename*1=\"%41.txt\"", "ü%41.txt"),
    ('attachment; filename*0="=?utf-8?q?=C3="; filename*1="BC.txt?="', "ü.txt"),
    ("attachment; filename*0*=utf-8''a; filename*2*=c", "ac"),
    (b'attachment; filename="\xfc.txt"', "ü.txt"),
    (b'attachment; filename="\xc3\xbc.txt"', "ü.txt"),
    (f'attachment; filename="{"n" * 300}.txt"', "n" * 300 + ".txt"),
    ("attachment; filename=\"a\r\n b.txt\"", "a b.txt"),
    ('attachment; filename="../../etc/passwd"', "../../etc/passwd"),
    ('attachment; filename="nul\x00.txt"', "nul .txt"),
    ('attachment; filename=""', "part-1.bin"),
    ("attachment;;;; ;=;filename=a.txt", "a.txt"),
    ("", "part-1.bin"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), NAMES)
def test_attachment_names(value: str | bytes, expected: str) -> None:
    raw = value if isinstance(value, bytes) else value.encode()
    read = parse(mail("Content-Type: application/x-f", b"Content-Disposition: " + raw, "", "x"))
    assert read.parts[0].name == expected


def test_the_name_of_the_type_stands_in() -> None:
    read = parse(mail("Content-Type: application/x-f; name*=utf-8''%C3%BC", "", "x"))
    assert read.parts[0].name == "ü"


# --- Addresses ----------------------------------------------------------------------------------

ADDRESSES: list[tuple[str, list[tuple[str, str]]]] = [
    ("a@example.org", [("", "a@example.org")]),
    ("<a@example.org>", [("", "a@example.org")]),
    ("A B <a@example.org>", [("A B", "a@example.org")]),
    ('"B, A" <a@example.org>, c@example.org', [("B, A", "a@example.org"), ("", "c@example.org")]),
    ('"say \\"hi\\"" <a@example.org>', [('say "hi"', "a@example.org")]),
    ("a@example.org (A (B))", [("A (B)", "a@example.org")]),
    ("=?utf-8?q?J=C3=BC?= =?utf-8?q?rgen?= <a@example.org>", [("Jürgen", "a@example.org")]),
    ('"=?utf-8?q?J=C3=BC?=" <a@example.org>', [("Jü", "a@example.org")]),
    ("=?utf-8?q?B=2C_A?= <a@example.org>", [("B, A", "a@example.org")]),
    ("=?utf-8?q?B, A?= <a@example.org>", [("B, A", "a@example.org")]),
    # What is encoded, quoted or commented adds no address (CVE-2025-1795, CVE-2023-27043).
    ("=?utf-8?q?x=40evil.example=2C?= <a@example.org>", [("x@evil.example,", "a@example.org")]),
    ('"x@evil.example, y" <a@example.org>', [("x@evil.example, y", "a@example.org")]),
    ("(x@evil.example,) a@example.org", [("x@evil.example,", "a@example.org")]),
    ('"x@evil.example x"@example.org', [("", '"x@evil.example x"@example.org')]),
    ("g: a@example.org, B <b@example.org>;", [("", "a@example.org"), ("B", "b@example.org")]),
    ("undisclosed-recipients:;", []),
    ("a@example.org; b@example.org", [("", "a@example.org"), ("", "b@example.org")]),
    ("<@relay.example,@other.example:a@example.org>", [("", "a@example.org")]),
    ("word", [("word", "")]),
    ("Name a@example.org", [("Name", "a@example.org")]),
    ("A <a@example.org", [("A", "a@example.org")]),
    ("a@example.org>, b@example.org", [("", "a@example.org"), ("", "b@example.org")]),
    ('"open <a@example.org>, b@example.org', [("open", "a@example.org"), ("", "b@example.org")]),
    ("(open a@example.org", [("open", "a@example.org")]),
    ("a@[IPv6:::1]", [("", "a@[IPv6:::1]")]),
    (", ,; <>", []),
    ("", []),
]


@pytest.mark.parametrize(("value", "expected"), ADDRESSES)
def test_addresses(value: str, expected: list[tuple[str, str]]) -> None:
    for field in ("From", "To", "Cc", "Reply-To"):
        read = one(f"{field}: {value}")
        found = {"From": read.from_, "To": read.to, "Cc": read.cc, "Reply-To": read.reply_to}
        assert list(found[field]) == expected


def test_raw_octets_in_a_name() -> None:
    assert one(b'To: "J\xfcrgen" <a@example.org>').to == (("Jürgen", "a@example.org"),)


def test_fields_of_one_name_are_one_list() -> None:
    assert len(one("To: a@example.org", "TO: b@example.org").to) == 2


# --- Dates and identifiers ----------------------------------------------------------------------

DATES = [
    ("Tue, 3 Mar 2026 10:20:30 +0000", datetime(2026, 3, 3, 10, 20, 30, tzinfo=UTC)),
    ("3 Mar 2026 10:20 -0500", datetime(2026, 3, 3, 15, 20, tzinfo=UTC)),
    ("Tue, 3 Mar 26 10:20:30 GMT", datetime(2026, 3, 3, 10, 20, 30, tzinfo=UTC)),
    ("Tue, 03 Mar 2026 10:20:30 +0100 (CET)", datetime(2026, 3, 3, 9, 20, 30, tzinfo=UTC)),
    ("Tue, 3 Mar 2026 10:20:30", datetime(2026, 3, 3, 10, 20, 30, tzinfo=UTC)),
    ("Tue Mar  3 10:20:30 2026", datetime(2026, 3, 3, 10, 20, 30, tzinfo=UTC)),
    ("2026-03-03T10:20:30Z", datetime(2026, 3, 3, 10, 20, 30, tzinfo=UTC)),
    ("Tue, 3 Mar 2026 23:59:60 +0000", datetime(2026, 3, 3, 23, 59, 59, tzinfo=UTC)),
    ("Tue, 31 Feb 2026 10:20:30 +0000", None),
    ("Tue, 3 Mar 2026 25:20:30 +0000", None),
    ("Fri, 31 Dec 9999 23:59:59 -2300", None),
    ("yesterday", None),
    ("", None),
    ("1" * 5000, None),
]


@pytest.mark.parametrize(("value", "expected"), DATES)
def test_dates(value: str, expected: datetime | None) -> None:
    found = one(f"Date: {value}").date
    assert found == expected
    assert found is None or found.tzinfo is UTC


IDENTIFIERS = [
    ("<a@b>", "<a@b>"),
    ("  <a@b> (comment)", "<a@b>"),
    ("<a@b> <c@d>", "<a@b>"),
    ("a@b", "a@b"),
    ("<a b@c>", "<a b@c>"),
    ("", None),
]


@pytest.mark.parametrize(("value", "expected"), IDENTIFIERS)
def test_message_ids(value: str, expected: str | None) -> None:
    read = one(f"Message-Id: {value}", f"In-Reply-To: {value}")
    assert (read.message_id, read.in_reply_to) == (expected, expected)
