"""Strings on their way to an IMAP server: checked, then quoted, encoded or sent as a literal.

The check is ours and comes first: libraries have put a line break in a folder name, a search text
or a password on the wire, where it starts a second command (CVE-2025-15366). Names that the server
itself returned are no exception.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from imapclient import imap_utf7

from models.errors import ConnectorError, ErrorType

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN: Final = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]*")
_FLAG: Final = re.compile(r"\\?[A-Za-z0-9$_.-]+")
_EIGHT_BIT: Final = re.compile(rb"[\x80-\xff]")


class Literal(bytes):
    """Octets to be sent as a literal (RFC 9051 §4.3)."""


def checked(text: str, field: str) -> str:
    """Return ``text`` if every IMAP string can hold it.

    Raises:
        ConnectorError: It has a control character, or is no text at all (a lone surrogate).
    """
    if _CONTROL.search(text) or not _is_unicode(text):
        raise ConnectorError(
            ErrorType.INVALID_INPUT,
            "The value has a line break or another control character, which IMAP cannot carry. "
            "Nothing was sent.",
            field=field,
        )
    return text


def astring(text: str, field: str) -> str | Literal:
    """Return a command argument: quoted where that is plain, else a literal.

    Quotes and backslashes may be escaped in a quoted string (RFC 9051 §4.3), but servers exist
    that do not undo it; characters beyond ASCII may only be in a literal (RFC 3501 §9).
    """
    if _PLAIN.fullmatch(checked(text, field)):
        return f'"{text}"'
    return Literal(text.encode())


def quoted(name: str) -> str:
    """Return an encoded folder name as a quoted string (RFC 9051 §4.3)."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def flag_list(flags: Sequence[str]) -> str:
    """Return flags for APPEND (RFC 9051 §2.3.2).

    Raises:
        ConnectorError: One is no flag.
    """
    for flag in flags:
        if not _FLAG.fullmatch(flag):
            raise ConnectorError(
                ErrorType.INVALID_INPUT,
                "A flag is a word, with or without a backslash.",
                field="flags",
            )
    return f"({' '.join(flags)})"


def message_literal(raw: bytes) -> Literal:
    """Return a mail as a literal, which may hold line breaks but no NUL (RFC 9051 §9, CHAR8)."""
    if b"\0" in raw:
        raise ConnectorError(
            ErrorType.INVALID_INPUT, "The mail has a NUL, which IMAP cannot carry.", field="raw"
        )
    return Literal(raw)


def folder_name(name: str, field: str = "folder") -> str:
    """Return a folder's name in modified UTF-7 (RFC 3501 §5.1.3), unquoted, in ASCII."""
    encoded: bytes = imap_utf7.encode(checked(name, field))
    return encoded.decode("ascii")


def decoded_folder_name(name: bytes) -> str | None:
    """Return a name from LIST as a person reads it, or None when we could never send it back.

    That is so for broken modified UTF-7 (encoding it again gives another name), for UTF-8, which
    is only legal once UTF8=ACCEPT is enabled (RFC 6855), and for control characters.
    """
    if _EIGHT_BIT.search(name):
        return None
    try:
        text: str = imap_utf7.decode(name)
    except UnicodeError:
        return None
    if _CONTROL.search(text) or not _is_unicode(text) or imap_utf7.encode(text) != name:
        return None
    return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
