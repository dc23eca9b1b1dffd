"""Domains of e-mail addresses and their ASCII form (IDNA 2008).

The standard library knows IDNA 2003 only, which turns some registrable names into others
(``ß`` into ``ss``): mail would reach a stranger.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from functools import lru_cache

_MAX_OCTETS = 253
INVISIBLE = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
)
"""Letters and marks that show nothing (Unicode: default ignorable), for a character class."""

_LDH_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
# RFC 5892: letters that are allowed although folding changes them, code points that are not
# although they are letters, and those that stand only beside certain others.
_LETTER_EXCEPTIONS = frozenset("ßς\u06fd\u06fe\u0f0b\u3007")
_LETTER_CATEGORIES = frozenset({"Ll", "Lo", "Lm", "Mn", "Mc", "Nd"})
_NOT_IN_LABEL = re.compile(
    f"[{INVISIBLE}\u0640\u07fa\u302e\u302f\u3031-\u3035\u303b\u20d0-\u20ff\U0001d100-\U0001d24f"
    "\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]"
)
_IN_CONTEXT = re.compile(
    "(?<=l)\u00b7(?=l)|\u0375(?=[\u0370-\u03ff\u1f00-\u1fff])|(?<=[\u0591-\u05f4])[\u05f3\u05f4]"
)
_KATAKANA_DOT = "\u30fb"
_KANA_OR_HAN = re.compile(
    "[\u3005-\u3007\u3041-\u30fa\u30fc-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]"
)
_TWO_DIGIT_SETS = re.compile("[\u0660-\u0669].*[\u06f0-\u06f9]|[\u06f0-\u06f9].*[\u0660-\u0669]")


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
    label = unicodedata.normalize("NFC", label.lower())
    if not _is_u_label(label):
        raise ValueError("the domain is not an international name; try its xn-- form")
    encoded = "xn--" + label.encode("punycode").decode("ascii")
    if len(encoded) > 63:
        raise ValueError("a label of the domain is too long")
    return encoded


def _is_u_label(label: str) -> bool:
    """RFC 5891 §4.2 but for the rules on writing direction, which only registries need."""
    if label.startswith("-") or label.endswith("-") or label[2:4] == "--":
        return False
    if unicodedata.category(label[0]).startswith("M"):
        return False
    letters = _IN_CONTEXT.sub("", label)
    if _KANA_OR_HAN.search(letters):
        letters = letters.replace(_KATAKANA_DOT, "")
    if _NOT_IN_LABEL.search(letters) or _TWO_DIGIT_SETS.search(letters):
        return False
    return all(_is_letter(char) for char in letters)


def _is_letter(char: str) -> bool:
    """RFC 5892 §2: a letter, mark or digit that no normalisation changes."""
    if char == "-" or char in _LETTER_EXCEPTIONS:
        return True
    if unicodedata.category(char) not in _LETTER_CATEGORIES:
        return False
    folded = unicodedata.normalize("NFKC", char).casefold()
    return unicodedata.normalize("NFKC", folded) == char
