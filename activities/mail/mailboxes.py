"""Address lists of received mail (RFC 5322 §3.4), read tolerantly, in linear time, bounded.

The list is cut into tokens first and decoded last, so nothing inside a quoted string, a comment
or an encoded word can add an address (CVE-2023-27043, CVE-2025-1795 are what happens otherwise).
"""

from __future__ import annotations

import re
from typing import Final

from activities.mail.encoded_words import decode_words

MAX_ADDRESSES: Final = 1000
"""Addresses read from one field."""

Mailboxes = tuple[tuple[str, str], ...]
"""(display name, addr-spec); what has no address is (text, "")."""

# An encoded word is one token, because some senders leave commas in it.
_WORD: Final = r"(?P<word>=\?[^?\s]{1,60}\?[bBqQ]\?[^?]*+\?=)"
_QUOTED: Final = r'(?P<quoted>"(?:[^"\\]|\\.)*+")'
_SPECIAL: Final = r"(?P<special>[<>,;:()])"
_TEXT: Final = r'(?P<text>(?:[^<>,;:()"=]|=(?!\?))++|.)'
_TOKEN: Final = re.compile(f"{_WORD}|{_QUOTED}|{_SPECIAL}|{_TEXT}", re.S)
# For the text after a quote that nothing closes: trying again at each quote would take quadratic
# time, and there is no closing quote to be found.
_TOKEN_UNQUOTED: Final = re.compile(f"{_WORD}|{_SPECIAL}|{_TEXT}", re.S)
_PARENTHESIS: Final = re.compile(r"\\.|[()]", re.S)
_ESCAPED: Final = re.compile(r"\\(.)", re.S)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f]+")


# What nearly every field holds, read without the state machine: names of plain words or quoted,
# plain addresses. Whatever else occurs sends the whole value to the reader below.
_USUAL: Final = re.compile(
    r"(?:(?:\"([\w.,@'&()/ -]*+)\"|([\w.'&/-]++(?: [\w.'&/-]++)*+)) ?)?"
    r"(<)?([\w.+#$%&*/^`{|}~!-]++@[\w.-]++)(>)?(?:, *|$)",
    re.ASCII,
)


def _usual(value: str) -> list[tuple[str, str]] | None:
    found = []
    position, end = 0, len(value)
    while position < end:
        match = _USUAL.match(value, position)
        if match is None:
            return None
        quoted, words, opened, address, closed = match.groups()
        name = quoted if words is None else words
        if (opened is None) != (closed is None) or (name is not None and opened is None):
            return None
        if name is None:
            name = ""
        elif quoted is not None and ("  " in name or name.strip() != name):
            return None
        found.append((name, address))
        position = match.end()
    return found


def read_mailboxes(values: list[str] | None) -> Mailboxes:
    """The mailboxes of all fields of one name, groups flattened; never raises.

    Args:
        values: The fields' unfolded values, octets beyond ASCII as surrogate escapes.
    """
    if not values:
        return ()
    found: list[tuple[str, str]] = []
    for value in values:
        usual = _usual(value)
        if usual is None:
            _Reader(value, found).read()
        else:
            found += usual
    return tuple(found[:MAX_ADDRESSES])


class _Reader:
    """Reads one value; the lists collect the mailbox at hand."""

    def __init__(self, value: str, found: list[tuple[str, str]]) -> None:
        self._value = value
        self._found = found
        self._syntax = _TOKEN
        self._comments_end = len(value)
        self._phrase: list[str] = []
        self._shown: list[str] = []
        """The phrase with its quotes undone."""
        self._has_at = False
        self._comments: list[str] = []
        self._in_angle = False
        self._angle: list[str] = []
        self._address = ""

    def read(self) -> None:
        """Collect until the value or the patience ends."""
        value, position = self._value, 0
        while position < len(value) and len(self._found) < MAX_ADDRESSES:
            match = self._syntax.match(value, position)
            if match is None:  # The last alternative takes anything.
                break
            piece, kind, position = match[0], match.lastgroup, match.end()
            if piece == '"' and self._syntax is _TOKEN:
                self._syntax = _TOKEN_UNQUOTED
            elif piece == "(" and position <= self._comments_end:
                position = self._comment(position)
            elif kind == "special":
                self._special(piece)
            else:
                self._add(piece, _ESCAPED.sub(r"\1", piece[1:-1]) if kind == "quoted" else piece)
        self._flush()

    def _comment(self, start: int) -> int:
        """Pass over the comment whose inside begins at ``start``; returns where reading goes on."""
        depth = 1
        for match in _PARENTHESIS.finditer(self._value, start):
            if match[0] == "(":
                depth += 1
            elif match[0] == ")":
                depth -= 1
                if depth == 0:
                    self._comments.append(self._value[start : match.start()])
                    return match.end()
        # Nothing closes it, so nothing closes any comment from here on.
        self._comments_end = start - 1
        return start

    def _add(self, piece: str, shown: str) -> None:
        if self._in_angle:
            self._angle.append(piece)
        else:
            self._phrase.append(piece)
            self._shown.append(shown)
            self._has_at = self._has_at or "@" in piece

    def _special(self, piece: str) -> None:
        if piece == "<":
            self._in_angle = True
            self._angle = []
        elif piece == ">":
            if self._in_angle:
                self._address = "".join(self._angle).strip() or self._address
                self._in_angle = False
        elif self._in_angle and piece in ",:" and self._is_route():
            self._angle = []
        elif piece in ",;":
            self._flush()
        elif piece == ":" and not self._in_angle and not self._has_at:
            self._phrase.clear()  # The name of a group (§3.4).
            self._shown.clear()
        else:
            self._add(piece, piece)

    def _is_route(self) -> bool:
        """Whether ``<@relay:user@host>`` is being read; the route is passed over (§4.4)."""
        return bool(self._angle) and self._angle[0].lstrip().startswith("@")

    def _flush(self) -> None:
        """End of a mailbox: keep it if there is any."""
        if self._in_angle:
            self._address = "".join(self._angle).strip() or self._address
            self._in_angle = False
        name, address = "".join(self._shown).strip(), self._address
        if name and not address:
            name, address = _bare("".join(self._phrase).strip(), name)
        if not name and self._comments:
            name = " ".join(self._comments)
        name, address = _decoded(name), _decoded(address)
        if name or address:
            self._found.append((name, address))
        self._phrase.clear()
        self._shown.clear()
        self._comments.clear()
        self._address = ""
        self._has_at = False


def _bare(text: str, shown: str) -> tuple[str, str]:
    """(name, address) of a mailbox without angle brackets."""
    if "@" not in text or text.endswith('"'):
        return shown, ""
    if text.startswith('"'):  # A quoted local part, not a name: "a@b"@example.org
        return "", text
    name, _, address = text.rpartition(" ")
    if "@" in address and "@" not in name:
        return name.strip(), address
    return "", text


def _decoded(text: str) -> str:
    """Encoded words decoded, white space and control characters one space."""
    if "=?" in text or not text.isascii():
        text = decode_words(text)
    return _UNPRINTABLE.sub(" ", text).strip()
