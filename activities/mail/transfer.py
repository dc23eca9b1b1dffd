"""Content transfer encodings (RFC 2045 §6), undone tolerantly.

Nearly all of a mailbox is base64. fast-mail-parser undoes it three times as fast as the standard
library and refuses what is damaged, which is then read here as far as it goes.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

from fast_mail_parser import ParseError, parse_email_tree

from activities.mail.encoded_words import decode_base64

# A part without any other field, to have its transfer encoding undone by Rust.
_BASE64: Final = b"Content-Transfer-Encoding: base64\r\n\r\n"
_QUOTED_PRINTABLE: Final = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
_WORTH_RUST: Final = 1000
_SOFT_BREAK: Final = re.compile(rb"=[ \t]++(?=\r?\n|\Z)")
_UU_BEGIN: Final = re.compile(rb"(?:^|\n)begin[ \t]+[0-7]{3,4}[ \t]+([^\r\n]*)\r?\n")
_UU_LINE: Final = re.compile(rb"[ -`]*$")
_UU_ENCODINGS: Final = frozenset({"x-uuencode", "uuencode", "x-uue", "uue"})
MAX_UU_FILES: Final = 1000
"""Files taken out of one text; the rest stays text."""


def undo_transfer(data: bytes, encoding: str) -> bytes:
    """The octets of a part; an unknown encoding is left as it stands (RFC 2045 §6.4)."""
    if encoding == "base64":
        return _base64(data)
    if encoding == "quoted-printable":
        return _quoted_printable(data)
    if encoding in _UU_ENCODINGS:
        begin = _UU_BEGIN.search(data)
        return _uu_file(data, begin.end())[0] if begin else data
    return data


def _base64(data: bytes) -> bytes:
    if len(data) > _WORTH_RUST:
        try:
            return parse_email_tree(_BASE64 + data).content or b""
        except ParseError:
            pass  # It refuses what is damaged.
    return decode_base64(data)


def _quoted_printable(data: bytes) -> bytes:
    # Rust drops raw octets, ends every line with CRLF, and adds a line end after a soft one at the
    # very end. Otherwise it is right, also about the white space that transport adds to lines.
    if data.isascii() and b"\r\n" in data and not data[-8:].rstrip().endswith(b"="):
        try:
            return parse_email_tree(_QUOTED_PRINTABLE + data).content or b""
        except ParseError:
            pass
    if b"= " in data or b"=\t" in data:
        data = _SOFT_BREAK.sub(b"=", data)
    return binascii.a2b_qp(data)


def split_uuencoded(data: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Files that programs older than MIME put into the text, and the text without them.

    Args:
        data: The octets of a text part.

    Returns:
        The remaining text, and (name, content) of each file.
    """
    files: list[tuple[bytes, bytes]] = []
    kept: list[bytes] = []
    position = 0
    while len(files) < MAX_UU_FILES:
        begin = _UU_BEGIN.search(data, position)
        if begin is None:
            break
        content, end = _uu_file(data, begin.end())
        if end is None:
            # A text that speaks of "begin 644 x", or a cut mail: leave it as text.
            break
        kept.append(data[position : begin.start() + data.startswith(b"\n", begin.start())])
        files.append((begin[1].strip(), content))
        position = end
    kept.append(data[position:])
    return b"".join(kept), files


def _uu_file(data: bytes, position: int) -> tuple[bytes, int | None]:
    """Decode lines from ``position`` on, up to ``end`` or to the first line that is not encoded.

    Returns:
        The octets, and where the ``end`` line ends (None without one).
    """
    out = bytearray()
    # Real lines have 61 characters; millions of tiny ones are no file.
    patience = (len(data) - position) // 20 + 100
    while position < len(data) and patience:
        patience -= 1
        stop = data.find(b"\n", position)
        stop = len(data) if stop < 0 else stop
        line = data[position:stop].rstrip(b"\r")
        position = min(stop + 1, len(data))
        if line == b"end":
            return bytes(out), position
        if not _UU_LINE.match(line):
            break
        if line:
            out += _uu_line(line)
    return bytes(out), None


def _uu_line(line: bytes) -> bytes:
    try:
        return binascii.a2b_uu(line)
    except binascii.Error:
        # A checksum or garbage after the octets that the line announces.
        announced = (((line[0] - 32) & 63) + 2) // 3 * 4 + 1
        try:
            return binascii.a2b_uu(line[:announced])
        except binascii.Error:
            return b""
