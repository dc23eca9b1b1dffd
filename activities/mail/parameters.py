"""Content-Type and Content-Disposition values and their parameters (RFC 2045 §5.1, RFC 2231).

Real mail mixes all ways of writing a long or non-ASCII parameter: continuations (``name*0``),
extended values (``name*=utf-8''%e2``), both in turn, encoded words in quotes, raw octets. The
pieces are joined as octets and decoded once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from activities.mail.charset import codec_of, decode
from activities.mail.encoded_words import decode_words

_MAX_PARAMETERS: Final = 1000
_CACHED: Final = 120
# ";" name [*n] [*] "=" value, the value quoted or up to the next ";". Possessive throughout.
_PARAMETER: Final = re.compile(
    r";\s*+([^\s=;*\"]++)(?:\*(\d{1,4}))?(\*)?\s*+=\s*+"
    r"(?:\"((?:[^\"\\]|\\.)*+)(?:\"|$)|([^;]*+))",
    re.S,
)
# Nearly every value: at most one parameter, with nothing in it to decode.
_ONE_PARAMETER: Final = re.compile(
    r"([\w./+-]++); *([A-Za-z-]++)=(?:\"([^\"\\\x80-\udcff]*+)\"|([^\s\"\\;\x80-\udcff]++))"
)
_ESCAPED: Final = re.compile(r"\\(.)", re.S)


@dataclass(frozen=True, slots=True)
class Parameterised:
    """A value such as ``text/plain`` with its parameters by lower-case name."""

    value: str
    parameters: Mapping[str, str]


def read_parameterised(text: str) -> Parameterised:
    """Read a Content-Type or Content-Disposition value; never raises.

    Args:
        text: The unfolded header value, octets beyond ASCII as surrogate escapes.
    """
    return _cached(text) if len(text) <= _CACHED else _read(text)


def _read(text: str) -> Parameterised:
    one = _ONE_PARAMETER.fullmatch(text)
    if one:
        value, name, quoted, bare = one.groups()
        content = bare if quoted is None else quoted
        if "=?" not in content:
            return Parameterised(value.lower(), {name.lower(): content})
    value, semicolon, _ = text.partition(";")
    found: dict[str, str] = {}
    result = Parameterised("".join(value.split()).lower(), found)
    if not semicolon:
        return result
    plain: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[bool, str]]] = {}
    for count, match in enumerate(_PARAMETER.finditer(text, len(value))):
        if count >= _MAX_PARAMETERS:
            break
        name, index, extended, quoted, bare = match.groups()
        name = name.lower()
        content = bare.strip() if quoted is None else quoted
        if quoted is not None and "\\" in content:
            content = _unescape(content)
        if index is None and extended is None:
            plain.setdefault(name, content)
        else:
            number = -1 if index is None else int(index)
            pieces.setdefault(name, {}).setdefault(number, (extended is not None, content))
    for name, content in plain.items():
        found[name] = decode_words(content)
    for name, numbered in pieces.items():
        found[name] = _joined(numbered)
    return result


# A mailbox has few ways of saying text/plain.
_cached = lru_cache(maxsize=2048)(_read)


def _unescape(content: str) -> str:
    r"""Undo quoted pairs, but leave the backslashes of a path (``C:\dir\file``) alone."""
    if re.match(r"[A-Za-z]:\\|\\\\", content):
        return content
    return _ESCAPED.sub(r"\1", content)


def _joined(numbered: dict[int, tuple[bool, str]]) -> str:
    """The pieces of one parameter, joined as octets, decoded once (RFC 2231 §4.1)."""
    if -1 in numbered:  # name*= beside name*0=: the single extended value is complete.
        numbered = {-1: numbered[-1]}
    charset: str | None = None
    octets: list[bytes] = []
    for position, number in enumerate(sorted(numbered)):
        extended, content = numbered[number]
        if position == 0 and extended:
            label, quote, rest = content.partition("'")
            language, second, value = rest.partition("'")
            if quote and second and (not label or codec_of(label) or len(language) < 10):
                charset, content = label, value
        raw = content.encode("utf-8", "surrogateescape")
        octets.append(unquote_to_bytes(raw) if extended else raw)
    joined = b"".join(octets)
    if charset is None and b"=?" in joined:
        return decode_words(joined.decode("ascii", "surrogateescape"))
    return decode(joined, charset)
