"""Types and names of what is served."""

from __future__ import annotations

import pytest

from starter.endpoints.media import disposition_of, file_name, media_type_of


@pytest.mark.parametrize(
    ("claimed", "served"),
    [
        ("image/png", "image/png"),
        ("IMAGE/JPEG", "image/jpeg"),
        ("image/gif", "image/gif"),
        ("image/webp", "image/webp"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("image/svg+xml", "application/octet-stream"),
        ("text/html", "application/octet-stream"),
        ("application/xhtml+xml", "application/octet-stream"),
        ("text/xml", "application/octet-stream"),
        ("text/javascript", "application/octet-stream"),
        ("application/pdf", "application/octet-stream"),
        ("text/plain; charset=utf-7", "application/octet-stream"),
        ("image/png\r\nSet-Cookie: a=b", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_only_what_cannot_act_is_shown(claimed: str, served: str) -> None:
    assert media_type_of("part", claimed, b"bytes") == served
    shown = served != "application/octet-stream"
    assert disposition_of(served, "x").startswith("inline" if shown else "attachment")


def test_the_type_of_stored_kinds_is_ours() -> None:
    assert media_type_of("html", "image/svg+xml") == "text/html; charset=utf-8"
    assert media_type_of("text", "text/html") == "text/plain; charset=utf-8"
    assert media_type_of("raw", "text/html") == "message/rfc822"
    assert media_type_of("part", "text/plain", b"caf\xe9") == "text/plain; charset=windows-1252"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\x.exe", "x.exe"),
        ("a\u202efdp.exe", "afdp.exe"),
        ("a\x00\r\nb.txt", "ab.txt"),
        (".hidden", "hidden"),
        ("...", "file"),
        ("", "file"),
        ('a"b<c>.txt', "a_b_c_.txt"),
        ("x" * 300 + ".pdf", "x" * 146 + ".pdf"),
        ("x" * 300, "x" * 149),
    ],
)
def test_names_are_safe_to_save_under(name: str, expected: str) -> None:
    assert file_name(name) == expected
    assert len(file_name(name)) <= 150


def test_names_beyond_ascii() -> None:
    value = disposition_of("application/octet-stream", "Übersicht 東京.pdf")
    assert value == (
        'attachment; filename="Ubersicht .pdf"; '
        "filename*=UTF-8''%C3%9Cbersicht%20%E6%9D%B1%E4%BA%AC.pdf"
    )
    for name in ("a\r\nSet-Cookie: x", 'a"; x="', "a\\", "a;b", "\ud800"):
        value = disposition_of("application/octet-stream", name)
        assert value.isascii()
        assert value.isprintable()
        assert value.count('"') == 2
