"""Which addresses requests may reach."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from activities.web.guard import EgressGuard, is_public
from models.errors import ConnectorError, ErrorType
from models.web import parse_url

PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2001:4860::8888"]

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",  # IPv4-compatible
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",  # Teredo
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",  # 6to4
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


def refused(guard: EgressGuard, url: str, peer: str) -> bool:
    try:
        guard.check(parse_url(url), peer)
    except ConnectorError as error:
        found = error
    else:
        return False
    assert found.type is ErrorType.EGRESS_REFUSED
    assert not found.temporary
    assert peer not in str(found)
    return True


@pytest.mark.parametrize("peer", PUBLIC)
def test_public_addresses_by_https(peer: str) -> None:
    guard = EgressGuard()
    assert not refused(guard, "https://a.example/", peer)
    assert not refused(guard, "https://a.example:8443/", peer)
    assert not refused(guard, "https://a.example:80/", peer)
    assert refused(guard, "http://a.example/", peer)


@pytest.mark.parametrize("peer", NOT_PUBLIC)
def test_what_is_not_public(peer: str) -> None:
    guard = EgressGuard()
    host = f"[{peer}]" if ":" in peer else peer
    for url in (f"https://{host}/", f"http://{host}/", "https://a.example/"):
        assert refused(guard, url, peer)


@pytest.mark.parametrize("port", [1, 22, 25, 53, 110, 143, 389, 445, 465, 587, 993, 1023])
def test_ports_of_other_protocols(port: int) -> None:
    assert refused(EgressGuard(), f"https://a.example:{port}/", "8.8.8.8")
    assert not refused(EgressGuard(["8.8.8.0/24"]), f"https://a.example:{port}/", "8.8.8.8")


def test_a_listed_network_opens_itself_and_nothing_else() -> None:
    guard = EgressGuard(["127.0.0.0/8", "fd12::/16", "10.1.2.3"])
    assert not refused(guard, "http://localhost:8080/", "127.0.0.1")
    assert not refused(guard, "https://a.example/", "fd12::1")
    assert not refused(guard, "http://a.example/", "10.1.2.3")
    for peer in ("10.1.2.4", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fd13::1"):
        assert refused(guard, "http://a.example/", peer)
    assert refused(guard, "http://a.example/", "8.8.8.8")  # in clear, to everybody


def test_a_listed_host_may_be_private_but_never_hands_out_metadata() -> None:
    guard = EgressGuard(["Hooks.Internal", "::1"])
    for peer in ("10.0.0.1", "127.0.0.1", "192.168.0.1", "fd12::1", "8.8.8.8"):
        assert not refused(guard, "http://hooks.internal/", peer)
        assert refused(guard, "http://other.internal/", peer)
    for peer in (
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fe80::1",
        "::ffff:169.254.169.254",
        "::a9fe:a9fe",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
    ):
        assert refused(guard, "http://hooks.internal/", peer), peer
    assert not refused(guard, "http://[::1]/", "::1")


def test_translated_addresses_are_those_behind_the_translation() -> None:
    guard = EgressGuard(["64:ff9b::/96"])
    assert not refused(guard, "https://a.example/", "64:ff9b::808:808")
    for peer in ("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::a00:1"):
        assert refused(guard, "https://a.example/", peer)


def test_metadata_may_be_listed_as_a_network() -> None:
    assert not refused(EgressGuard(["169.254.0.0/16"]), "http://a.example/", "169.254.1.1")


def test_a_malformed_entry_is_refused() -> None:
    for entry in ("10.0.0.1/8", "127.1", "*.example.org", "http://a.example"):
        with pytest.raises(ValueError, match=r"."):
            EgressGuard([entry])


@given(st.ip_addresses(v=4))
def test_nothing_that_python_calls_special_is_public(address: IPv4Address) -> None:
    if is_public(address):
        special = ("private", "loopback", "link_local", "multicast", "reserved", "unspecified")
        assert not any(getattr(address, f"is_{kind}") for kind in special)


@given(st.ip_addresses(v=6))
def test_nor_in_ipv6(address: IPv6Address) -> None:
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast
        assert address.ipv4_mapped is address.sixtofour is address.teredo is None


@given(st.ip_addresses(v=4))
def test_no_disguise_of_an_ipv4_address_is_public(address: IPv4Address) -> None:
    number = int(address)
    for prefix, shift in (
        (0, 0),
        (0xFFFF << 32, 0),
        (0x64FF9B << 96, 0),
        (0x2002 << 112, 80),
        (0x20010000 << 96, 0),
    ):
        assert not is_public(IPv6Address(prefix | number << shift))


@given(st.ip_addresses(v=4, network="8.0.0.0/8"), st.integers(1, 32))
def test_a_listed_network_lets_exactly_its_addresses_through(
    address: IPv4Address, bits: int
) -> None:
    network = IPv4Network((int(address) >> (32 - bits) << (32 - bits), bits))
    guard = EgressGuard([str(network)])
    assert not refused(guard, "http://a.example/", str(address))
    outside = ip_address((int(network.broadcast_address) + 1) % 2**32)
    assume(outside not in network)
    assert refused(guard, "http://a.example/", str(outside))
