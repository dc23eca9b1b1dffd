"""Content transfer encodings (RFC 2045 §6), undone tolerantly."""

from __future__ import annotations

import binascii
import re
from typing import Final

from activities.mail.encoded_words import decode_base64

_SOFT_BREAK_WITH_SPACE: Final = re.compile(rb"=[ \t]++(?=\r?\n)")
_UU_BEGIN: Final = re.compile(rb"(?:^|\n)begin[ \t]+[0-7]{3,4}[ \t]+([^\r\n]*)\r?\n")
_UU_LINE: Final = re.compile(rb"[ -`]*$")
_UU_ENCODINGS: Final = frozenset({"x-uuencode", "uuencode", "x-uue", "uue"})
MAX_UU_FILES: Final = 1000
"""Files taken out of one text; the rest stays text."""


def undo_transfer(data: bytes, encoding: str) -> bytes:
    """The octets of a part; an unknown encoding is left as it stands (RFC 2045 §6.4)."""
    if encoding == "base64":
        return decode_base64(data)
    if encoding == "quoted-printable":
        if b"= " in data or b"=\t" in data:
            data = _SOFT_BREAK_WITH_SPACE.sub(b"=", data)
        return binascii.a2b_qp(data)
    if encoding in _UU_ENCODINGS:
        begin = _UU_BEGIN.search(data)
        return _uu_file(data, begin.end())[0] if begin else data
    return data


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
        kept.append(data[position : begin.start()])
        files.append((begin[1].strip(), content))
        position = end
    kept.append(data[position:])
    return b"".join(kept), files


def _uu_file(data: bytes, position: int) -> tuple[bytes, int | None]:
    """Decode lines from ``position`` on, up to ``end`` or to the first line that is not encoded.

    Returns:
        The octets, and where the ``end`` line ends (None without one).
    """
    out: list[bytes] = []
    while position < len(data):
        stop = data.find(b"\n", position)
        stop = len(data) if stop < 0 else stop
        line = data[position:stop].rstrip(b"\r")
        position = min(stop + 1, len(data))
        if line == b"end":
            return b"".join(out), position
        if not _UU_LINE.match(line):
            break
        if line:
            out.append(_uu_line(line))
    return b"".join(out), None


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
