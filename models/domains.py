"""Domains of e-mail addresses and their ASCII form (IDNA 2008).

The standard library knows IDNA 2003 only, which turns some registrable names into others
(``ß`` into ``ss``): mail would reach a stranger.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from functools import lru_cache

import idna

_MAX_OCTETS = 253
INVISIBLE = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
)
"""Letters and marks that show nothing (Unicode: default ignorable), for a character class."""

_LDH_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


@lru_cache(maxsize=1024)
def domain_to_ascii(domain: str) -> str:
    """Return ``domain`` with its international labels as A-labels (RFC 5891).

    Host names of one label are domains, and so are IP addresses in brackets (RFC 5321 §4.1.3).

    Raises:
        ValueError: It cannot be a domain of an e-mail address.
    """
    if domain.startswith("["):
        _check_literal(domain)
        return domain
    encoded = ".".join(_a_label(label) for label in domain.split("."))
    if len(encoded) > _MAX_OCTETS:
        raise ValueError("the domain is too long")
    if _NUMBER.fullmatch(encoded.rpartition(".")[2]):
        # Resolvers read such a name as an IP address (WHATWG URL §3.5).
        raise ValueError("the domain ends in a number; write an IP address in brackets")
    return encoded


def _check_literal(domain: str) -> None:
    text = domain[1:-1]
    try:
        if not domain.endswith("]") or "%" in text:
            raise ValueError
        if text[:5].lower() == "ipv6:":
            ipaddress.IPv6Address(text[5:])
        else:
            ipaddress.IPv4Address(text)
    except ValueError:
        raise ValueError("the domain in brackets is not an IP address") from None


def _a_label(label: str) -> str:
    """RFC 5891 §5, without the mappings that turn one registrable name into another."""
    if label.isascii():
        if not _LDH_LABEL.fullmatch(label):
            raise ValueError("the domain is not a host name")
        return label
    try:
        return idna.alabel(unicodedata.normalize("NFC", label.lower())).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise ValueError("the domain is not an international name; try its xn-- form") from None
