"""Web addresses (RFC 3986), read once and strictly.

A URL that two readers take for two different hosts is the way past every guard. So there is one
spelling for each host: a name in lower-case ASCII, or an IP address as RFC 5952 and the dotted
quad write it. Everything else is refused with the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated
from urllib.parse import urljoin

from pydantic import AfterValidator, StringConstraints

MAX_URL_CHARS = 2048

_PORTS = {"https": 443, "http": 80}
_ALLOWED = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")  # RFC 3986 §2.2, §2.3
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<target>(?:/[^?#]*)?(?:\?[^#]*)?)(?:#.*)?",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label that some reader takes for (a part of) an IPv4 address."""


@dataclass(frozen=True, slots=True)
class WebAddress:
    """A URL of the schemes http and https."""

    scheme: str
    host: str
    """In lower case; an IPv6 address without brackets."""
    port: int
    target: str
    """Path and query as given."""

    @property
    def secure(self) -> bool:
        """Whether TLS protects it."""
        return self.scheme == "https"

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The host, when it is an IP address."""
        return None if _is_name(self.host) else ip_address(self.host)

    @property
    def origin(self) -> str:
        """Scheme, host and port (RFC 6454): what may be shown. Path and query may be secret."""
        return f"{self.scheme}://{self._bracketed}:{self.port}"

    def __str__(self) -> str:
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self._bracketed}{port}{self.target}"

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def parse_url(text: str) -> WebAddress:
    """Read a URL.

    Raises:
        ValueError: It is not one, or not in the one spelling; the message never repeats it.
    """
    if len(text) > MAX_URL_CHARS:
        raise ValueError(f"a URL has at most {MAX_URL_CHARS} characters")
    if not _ALLOWED.fullmatch(text) or _BAD_ESCAPE.search(text):
        raise ValueError(
            "a URL is ASCII without spaces (RFC 3986); write a host as xn--…, the rest as %XX"
        )
    found = _URL.fullmatch(text)
    if found is None:
        raise ValueError("write an absolute URL: https://HOST/PATH")
    scheme, authority = found["scheme"].lower(), found["authority"]
    if "@" in authority:
        raise ValueError("a URL must not carry a user name or a password")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise ValueError("the host or the port of the URL is malformed")
    port = int(parts["port"]) if parts["port"] else _PORTS[scheme]
    if not 0 < port < 65536:
        raise ValueError("a port is a number from 1 to 65535")
    return WebAddress(scheme, _host(parts["host"].lower()), port, found["target"] or "/")


def follow(base: WebAddress, location: str) -> WebAddress:
    """Return where a ``Location`` header (RFC 9110 §10.2.2) leads; raises ``ValueError``."""
    if len(location) > MAX_URL_CHARS or not _ALLOWED.fullmatch(location):
        raise ValueError("the Location header is not a URL")
    absolute = _SCHEME.match(location) is not None
    return parse_url(location if absolute else urljoin(str(base), location))


def check_host(text: str) -> str:
    """Return a host name or IP address in its one spelling; raises ``ValueError``."""
    lowered = text.lower()
    return _host(f"[{lowered}]" if ":" in lowered else lowered)


def _host(text: str) -> str:
    if text.startswith("["):
        try:
            address = IPv6Address(text[1:-1])
        except ValueError:
            raise ValueError("the IPv6 address of the URL is malformed") from None
        if address.scope_id is not None:
            raise ValueError("an IPv6 address in a URL has no zone")
        return str(address)
    if _is_name(text):
        return text
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise ValueError(
            "write the host as a name without a dot at its end, or as an IP address of four "
            "decimal numbers"
        ) from None


def _is_name(host: str) -> bool:
    labels = host.split(".")
    return (
        len(host) <= 253
        and all(_LABEL.fullmatch(label) for label in labels)
        and not _NUMBER.fullmatch(labels[-1])
    )


def _checked(text: str) -> str:
    parse_url(text)
    return text


WebUrl = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_URL_CHARS), AfterValidator(_checked)
]
"""A URL as ``parse_url`` reads it."""
