"""Header fields of a new mail, as bytes.

Written out directly: the standard library takes several times as long, and its folding of encoded
display names loses the quotes around commas (CVE-2025-1795). All that comes out is ASCII, but for
addresses under SMTPUTF8, in lines that end with CRLF.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar
from urllib.parse import quote

from models.addresses import Mailbox, wire_address

_FOLD_AT = 78
# The longest word that still fits the first line behind each of our field names (RFC 2047 §2).
_MAX_WORD = 64
_CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PLAIN_WORDS = re.compile(r"[!-~]+(?: [!-~]+)*")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+(?: [A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+)*")
_QUOTABLE = re.compile(r"[ -~]*")
_Q_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
# Overrides of the writing direction disguise an extension: what reads "exe.pdf" is "fdp.exe".
_NAME_NOISE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff\ud800-\udfff]"
)
_Unit = TypeVar("_Unit", str, bytes)


def header(
    name: str, words: Sequence[str], *, utf8: bool = False, fold_first: bool = False
) -> bytes:
    """Return a header field, folded between ``words`` (RFC 5322 §2.2.3).

    Args:
        name: Its name.
        words: What is never cut.
        utf8: Whether a word may be in UTF-8 (RFC 6532).
        fold_first: Whether the first word may go to a line of its own, as behind a long name.

    Raises:
        ValueError: A word holds a line break or another control character, or is not ASCII.
    """
    lines, line = [], f"{name}:"
    for number, word in enumerate(words):
        check_text(word)
        if (number or fold_first) and len(line) + 1 + len(word) > _FOLD_AT:
            lines.append(line)
            line = ""
        line += " " + word
    return "\r\n".join([*lines, line, ""]).encode("utf-8" if utf8 else "ascii")


def check_text(text: str) -> str:
    """Return ``text`` if a header field may say it.

    Raises:
        ValueError: It holds a line break of any alphabet or another control character.
    """
    if found := _CONTROLS.search(text):
        raise ValueError(f"character U+{ord(found[0]):04X} is not allowed in a header field")
    return text


def text_words(text: str, *, longest: int = _MAX_WORD) -> list[str]:
    """Return the words of an unstructured field such as Subject, encoded where that is needed.

    Text is also encoded when folding would change its white space, when a word is longer than
    ``longest``, or when a reader would take a part of it for an encoded word.
    """
    if not text:
        return []
    if _PLAIN_WORDS.fullmatch(text) and "=?" not in text:
        words = text.split(" ")
        if max(map(len, words)) <= longest:
            return words
    return encoded_words(text)


def mailbox_words(mailboxes: Sequence[Mailbox]) -> list[str]:
    """Return the words of an address field (RFC 5322 §3.4)."""
    words: list[str] = []
    for mailbox in mailboxes:
        if words:
            words[-1] += ","
        address = wire_address(mailbox.address)
        name = phrase_words(mailbox.name)
        words += [*name, f"<{address}>"] if name else [address]
    return words


def phrase_words(name: str) -> list[str]:
    """Return the words of a phrase (RFC 5322 §3.2.5), quoted or encoded where that is needed."""
    if "=?" not in name and len(name) <= _MAX_WORD:
        if _ATOMS.fullmatch(name):
            return name.split(" ")
        if name and _QUOTABLE.fullmatch(name):
            return [_quoted(name)]
    return encoded_words(name)


def encoded_words(text: str) -> list[str]:
    """Return ``text`` as encoded words in UTF-8 (RFC 2047), readable ones unless that is too long.

    No character is split over two words, and Q leaves only what a phrase allows (§5.3).
    """
    octets = [char.encode() for char in check_text(text)]
    in_q = [_q(char, octet) for char, octet in zip(text, octets, strict=True)]
    room = _MAX_WORD - len("=?utf-8?q??=")
    if sum(map(len, in_q)) <= 2 * sum(map(len, octets)):
        return [f"=?utf-8?q?{''.join(chunk)}?=" for chunk in _chunks(in_q, room)]
    chunks = _chunks(octets, room // 4 * 3)
    return [f"=?utf-8?b?{b64encode(b''.join(chunk)).decode()}?=" for chunk in chunks]


def _q(char: str, octets: bytes) -> str:
    if char in _Q_SAFE:
        return char
    return "_" if char == " " else "".join(f"={octet:02X}" for octet in octets)


def _chunks(units: Iterable[_Unit], room: int) -> Iterator[list[_Unit]]:
    chunk: list[_Unit] = []
    size = 0
    for unit in units:
        if size + len(unit) > room:
            yield chunk
            chunk, size = [], 0
        chunk.append(unit)
        size += len(unit)
    if chunk:
        yield chunk


def clean_file_name(name: str) -> str:
    """Return ``name`` as one readable file name, without folders, controls and disguises."""
    return _NAME_NOISE.sub("", name).replace("/", "_").replace("\\", "_").strip() or "attachment"


def file_name_words(name: str) -> list[str]:
    """Return the ``filename`` parameter of Content-Disposition (RFC 2183 §2.3, RFC 2231)."""
    if _QUOTABLE.fullmatch(name) and "=?" not in name and len(name) <= 2 * _MAX_WORD:
        return [f"filename={_quoted(name)}"]
    units = [quote(char, safe="!#$&+-.^_`{|}~") for char in name]
    chunks = ["".join(chunk) for chunk in _chunks(units, _MAX_WORD - len("filename*99*=utf-8'';"))]
    if len(chunks) == 1:
        return [f"filename*=utf-8''{chunks[0]}"]
    words = [f"filename*{n}*={chunk};" for n, chunk in enumerate(chunks)]
    words[0] = f"filename*0*=utf-8''{chunks[0]};"
    words[-1] = words[-1].removesuffix(";")
    return words


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'
