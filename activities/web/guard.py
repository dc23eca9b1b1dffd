"""Where requests to URLs of somebody else's may go: no server-side request forgery.

Public addresses by https are allowed, everything else only when the operator has listed it. The
check is made on the address that the socket is about to connect to: whatever a name resolves to a
moment later, and however an address is spelt, it is this one that counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from models.errors import ConnectorError, ErrorType
from models.web import WebAddress, check_host

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Not left to `is_global`, whose meaning depends on the version of Python.
# https://www.iana.org/assignments/iana-ipv4-special-registry
_NOT_PUBLIC_4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers (CGNAT)
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's own service, on a public address
        "169.254.0.0/16",  # link-local, metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments, metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
]
# https://www.iana.org/assignments/iana-ipv6-special-registry. Outside of global unicast lie
# loopback, mapped and translated IPv4 (NAT64), unique local, link-local, multicast and the rest.
_GLOBAL_UNICAST_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = [
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
]
# Also behind a host that is listed: whoever controls a name must not get the machine's credentials.
_NEVER_BY_NAME: list[Network] = [
    IPv4Network("169.254.0.0/16"),
    IPv4Network("100.100.100.200/32"),
    IPv4Network("168.63.129.16/32"),
    IPv4Network("192.0.0.0/24"),
    IPv6Network("fe80::/10"),
    IPv6Network("fd00:ec2::/32"),
]
_TRANSLATED = IPv6Network("64:ff9b::/96")

_WEB_PORTS = frozenset({80, 443})
_LAST_SYSTEM_PORT = 1023


class EgressGuard:
    """Says where requests may go.

    Args:
        allowed: Networks (CIDR) and hosts that may be reached although they are not public, by
            http as well and on every port. A listed host may resolve to any address but link-local
            and metadata ones; to allow these, list the network.
    """

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._networks: list[Network] = []
        self._hosts: set[str] = set()
        for entry in allowed:
            try:
                self._networks.append(ip_network(entry))
            except ValueError:
                self._hosts.add(check_host(entry))

    def check(self, url: WebAddress, peer: str) -> None:
        """Refuse a connection to ``peer``, the IP address that ``url``'s host resolved to.

        Raises:
            ConnectorError: ``EgressRefused``.
        """
        address = ip_address(peer)
        if any(address in network for network in self._networks):
            if address in _TRANSLATED:  # listed for the sake of the Internet behind it (RFC 6146)
                self.check(url, str(_last_32_bits(address)))
            return
        if url.host in self._hosts:
            if any(a in network for a in _readings(address) for network in _NEVER_BY_NAME):
                raise _refused("the host resolves to a link-local or metadata address")
            return
        if not is_public(address):
            raise _refused("the host is or resolves to an address that is not public")
        if not url.secure:
            raise _refused("only https may leave for public addresses")
        if url.port <= _LAST_SYSTEM_PORT and url.port not in _WEB_PORTS:
            raise _refused("ports up to 1023, other than 80 and 443, belong to other protocols")


def is_public(address: Address) -> bool:
    """Whether everybody on the Internet can reach the address, and it is nothing but that host."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return address in _GLOBAL_UNICAST_6 and not any(address in n for n in _NOT_PUBLIC_6)


def _readings(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 addresses it may lead to."""
    yield address
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield from address.teredo
        if address in _TRANSLATED or int(address) < 2**32:
            yield _last_32_bits(address)


def _last_32_bits(address: Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFFFFFF)


def _refused(reason: str) -> ConnectorError:
    # The address itself would tell a caller what our network looks like inside.
    return ConnectorError(
        ErrorType.EGRESS_REFUSED,
        f"{reason}; if it is meant, list its network or host in EMAIL_CONNECTOR_EGRESS_ALLOW",
    )
