"""Rich text as Outlook compresses it ([MS-OXRTFCP])."""

from __future__ import annotations

import struct
from typing import Final

_HEADER: Final = struct.Struct("<IIII")
_COMPRESSED: Final = 0x75465A4C
_UNCOMPRESSED: Final = 0x414C454D
_WINDOW: Final = 4096
_MAX_OUTPUT: Final = 4 * 1024 * 1024
# §2.1.3.2: what the window holds before the first octet.
_START: Final = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript "
    rb"\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0"
    b"\r\n"
    rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)


def decompress_rtf(data: bytes) -> bytes | None:
    """The rich text, or None if ``data`` is not compressed rich text, or too much of it.

    The announced size of the output is not believed, and a cut input gives what it holds.
    """
    if len(data) < _HEADER.size:
        return None
    size, _, magic, _ = _HEADER.unpack_from(data)
    body = data[_HEADER.size : max(_HEADER.size, min(len(data), size + 4))]
    if magic == _UNCOMPRESSED:
        return body
    return _expand(body) if magic == _COMPRESSED else None


def _expand(body: bytes) -> bytes | None:
    window = bytearray(_START.ljust(_WINDOW, b"\0"))
    write = len(_START)
    out = bytearray()
    position, end = 0, len(body)
    while position < end:
        if len(out) > _MAX_OUTPUT:
            return None
        control = body[position]
        position += 1
        for bit in range(8):
            if not control >> bit & 1:
                if position >= end:
                    return bytes(out)
                window[write] = body[position]
                out.append(body[position])
                write = (write + 1) % _WINDOW
                position += 1
                continue
            if position + 1 >= end:
                return bytes(out)
            reference = body[position] << 8 | body[position + 1]
            position += 2
            read = reference >> 4
            if read == write:  # The end of the text.
                return bytes(out)
            for _ in range((reference & 15) + 2):
                octet = window[read]
                out.append(octet)
                window[write] = octet
                read = (read + 1) % _WINDOW
                write = (write + 1) % _WINDOW
    return bytes(out)
