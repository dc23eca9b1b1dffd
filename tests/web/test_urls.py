"""Web addresses: one spelling for each host, everything else refused with a reason."""

from __future__ import annotations

import ipaddress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from models.web import WebAddress, check_host, follow, parse_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a.example", WebAddress("https", "a.example", 443, "/")),
        ("HTTPS://A.Example:8443/x?y=%20#z", WebAddress("https", "a.example", 8443, "/x?y=%20")),
        ("http://192.0.2.7/", WebAddress("http", "192.0.2.7", 80, "/")),
        ("https://[2001:DB8::0:1]:444?a", WebAddress("https", "2001:db8::1", 444, "/?a")),
        ("https://[::ffff:127.0.0.1]/", WebAddress("https", "::ffff:7f00:1", 443, "/")),
        ("https://xn--bcher-kva.example/", WebAddress("https", "xn--bcher-kva.example", 443, "/")),
    ],
)
def test_it_is_read(text: str, expected: WebAddress) -> None:
    found = parse_url(text)
    # Python 3.13 writes mapped addresses in another way.
    assert (found.scheme, found.port, found.secure) == (
        expected.scheme,
        expected.port,
        expected.scheme == "https",
    )
    assert found.address == expected.address
    if found.address is None:
        assert found == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.example/x",
        "//a.example/x",
        "ftp://a.example/",
        "file:///etc/passwd",
        "https:/a.example",
        "https:///x",
        "https://user@a.example/",
        "https://user:secret@a.example/",
        "https://:@a.example/",
        "https://a.example@127.0.0.1/",
        "https://a.example:0/",
        "https://a.example:65536/",
        "https://a.example:/x y",
        "https://a.example:80:80/",
        "https://a.example./",
        "https://a..example/",
        "https://.example/",
        "https://-a.example/",
        "https://a.example\\@127.0.0.1/",
        "https://a.example/\r\nX: y",
        "https://a.example/\x00",
        " https://a.example/",
        "https://a.example/ü",
        "https://bücher.example/",
        "https://127.0.0.1%2f@a.example/",
        "https://%31%32%37.0.0.1/",
        "https://a.example/%zz",
        "https://[::1/",
        "https://::1/",
        "https://[fe80::1%25eth0]/",
        "https://[::1]x/",
        "https://[127.0.0.1]/",
        "https://a" + "a" * 63 + ".example/",
        "https://" + "a." * 140 + "example/",
        "https://a.example/" + "a" * 2048,
    ],
)
def test_it_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_url(text)
    assert not text or text not in str(caught.value)


SPELLINGS_OF_LOOPBACK = [
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "017700000001",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "0x7f.1",
    "127.1",
    "127.0.1",
    "0127.0.0.1",
    "127.0.0.01",
    "127.0.0.1.",
    "127.0.0.0x1",
    "00000000177.0.0.1",
    "1",
    "0",
    "127.0.0.256",
    "127.0.0.1.1",
    "a.example.0x1",
    "\uff11\uff12\uff17.0.0.1",
    "127\u30020\u30020\u30021",
    "\u246b7.0.0.1",
    "%31%32%37.0.0.1",
    "127.0.0.1%00",
    "127.0.0.1%20",
]


@pytest.mark.parametrize("host", SPELLINGS_OF_LOOPBACK)
def test_a_number_is_four_decimal_numbers(host: str) -> None:
    with pytest.raises(ValueError, match=r"host|ASCII"):
        parse_url(f"http://{host}/")


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/y", "https://a.example/y"),
        ("y?z", "https://a.example/y?z"),
        ("//b.example/y", "https://b.example/y"),
        ("https://b.example", "https://b.example/"),
        ("http://127.0.0.1/", "http://127.0.0.1/"),
        ("https://a.example:444/", "https://a.example:444/"),
    ],
)
def test_a_location_is_followed(location: str, expected: str) -> None:
    assert str(follow(parse_url("https://a.example/x"), location)) == expected


@pytest.mark.parametrize(
    "location",
    [
        "",
        "file:///x",
        "javascript:1",
        "//u:p@b.example/",
        "//2130706433/",
        "https://b\udcc3.example/",
        "\t//b.example",
        "https:////b.example/",
        "x" * 3000,
    ],
)
def test_a_bad_location_is_refused(location: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        follow(parse_url("https://a.example/x"), location)


def test_a_host_of_the_settings_is_read_the_same_way() -> None:
    assert check_host("Receiver.Internal") == "receiver.internal"
    assert check_host("::1") == "::1"
    for wrong in ("", "127.1", "a.example.", "http://a.example", "a.example:80", "10.0.0.0/99"):
        with pytest.raises(ValueError, match=r"."):
            check_host(wrong)


URL_TEXT = st.text(alphabet="htps:/@.%[]?#0127xXaA-_\\ ü\u3002", max_size=40)


@given(st.one_of(URL_TEXT, URL_TEXT.map("https://".__add__)))
def test_two_readers_agree(text: str) -> None:
    """Whatever is let through means the same host and port to the library that connects."""
    try:
        read = parse_url(text)
    except ValueError:
        return
    for other in (URL(text, encoded=True), URL(str(read), encoded=True)):
        assert (other.host or "").lower() == read.host or ip_address(other.host or "") == (
            read.address
        )
        assert other.port == read.port
    assert parse_url(str(read)) == read


@given(st.integers(0, 2**32 - 1), st.sampled_from(["{}", "0x{:x}", "0{:o}"]))
def test_no_single_number_is_a_host(number: int, form: str) -> None:
    with pytest.raises(ValueError, match="host"):
        parse_url(f"https://{form.format(number)}/")


@given(st.ip_addresses())
def test_every_canonical_address_is_read(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    host = f"[{address}]" if address.version == 6 else str(address)
    assert parse_url(f"https://{host}:1234/x").address == address
