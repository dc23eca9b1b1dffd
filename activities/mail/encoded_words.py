"""Encoded words in header fields (RFC 2047), as written and as miswritten.

Adjacent words of one charset are joined as octets and decoded once, because senders split
multi-byte characters between words. Words are read wherever they stand, also inside quoted strings
and parameters where RFC 2047 §5 forbids them, because too many programs put them there.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

from activities.mail.charset import codec_of, decode, decode_octets

# Linear: the charset ends at the next "?", the text at the next "?=", and neither crosses another
# "=?", so no octet is read twice from two starting points.
WORD: Final = re.compile(r"=\?([^?\s=]{1,60})\?([bBqQ])\?((?:[^?=]|\?(?!=)|=(?!\?(?![=\s])))*+)\?=")
_BETWEEN: Final = re.compile(r"[ \t\r\n]*")
_MAX_WORDS: Final = 4000
_WHITE_SPACE: Final = re.compile(rb"[ \t\r\n]+")
_MORE_BASE64: Final = re.compile(rb"[A-Za-z0-9+/=]*")
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/]+")


def decode_words(text: str) -> str:
    """``text`` with its encoded words decoded and raw 8-bit octets read by the charset ladder.

    Args:
        text: A header value; octets beyond ASCII stand in it as surrogate escapes.
    """
    if "=?" not in text:
        return decode_octets(text)
    out: list[str] = []
    pending = bytearray()
    charset = ""
    end = 0
    for count, match in enumerate(WORD.finditer(text)):
        if count >= _MAX_WORDS:
            break
        gap = text[end : match.start()]
        label = match[1].partition("*")[0].lower()
        octets = _octets(match[2], match[3])
        if pending and not gap.strip() and label == charset:
            pending += octets
        else:
            if pending:
                out.append(_text(bytes(pending), charset))
            # White space between two words belongs to their folding, not to the text (§6.2).
            if gap and not (out and not gap.strip()):
                out.append(decode_octets(gap))
            pending = bytearray(octets)
            charset = label
        end = match.end()
    if pending:
        out.append(_text(bytes(pending), charset))
    out.append(decode_octets(text[end:]))
    return "".join(out)


def _octets(encoding: str, text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    if encoding in "qQ":
        return binascii.a2b_qp(raw.replace(b"\n", b""), header=True)
    return decode_base64(raw)


def _text(octets: bytes, charset: str) -> str:
    if codec_of(charset) is None and octets.isascii():
        return octets.decode("ascii")
    return decode(octets, charset)


def decode_base64(data: bytes) -> bytes:
    """Base64 (RFC 2045 §6.8) that may be cut, padded wrongly, or several encodings in a row."""
    pad = data.find(b"=")
    more = pad >= 0 and bool(data[pad:].strip(b"= \t\r\n"))
    if more and not _MORE_BASE64.fullmatch(_WHITE_SPACE.sub(b"", data[pad:])):
        # Not a second encoding, but the footer of a mailing list.
        data, more = data[: pad + 2], False
    if not more:
        try:
            return binascii.a2b_base64(data)
        except binascii.Error:
            pass
    out = []
    for chunk in data.split(b"="):
        clean = _NOT_BASE64.sub(b"", chunk)
        # One lone character carries six bits, no octet.
        usable = len(clean) - (len(clean) % 4 == 1)
        out.append(binascii.a2b_base64(clean[:usable] + b"=" * (-usable % 4)))
    return b"".join(out)
