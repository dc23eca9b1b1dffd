"""``winmail.dat``: what Outlook wraps a mail in (TNEF, [MS-OXTNEF]), taken apart.

The library that does this (tnefparse) loops for half an hour on a short stream that announces four
thousand million properties, takes quadratic time over many small attributes, and cuts zero octets
off the end of files. So the format, which is small, is read here: one pass, no announced size
believed.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from activities.mail.charset import decode
from activities.mail.compressed_rtf import decompress_rtf

_SIGNATURE: Final = b"\x78\x9f\x3e\x22"
_MAX_FILES: Final = 1000
_MAX_PROPERTIES: Final = 10_000
_MAX_VALUES: Final = 10_000
_U16: Final = struct.Struct("<H")
_U32: Final = struct.Struct("<I")
_ATTRIBUTE: Final = struct.Struct("<BII")

# Attributes (§2.1.3): the upper half is the type.
_RENDERING: Final = 0x00069002
_TITLE: Final = 0x00018010
_DATA: Final = 0x0006800F
_ATTACHMENT: Final = 0x00069005
_MESSAGE: Final = 0x00069003
_BODY: Final = 0x0002800C
_CODEPAGE: Final = 0x00069007

# Properties ([MS-OXPROPS]) by the id in the upper half of their tag.
_LONG_NAME: Final = 0x3707
_SHORT_NAME: Final = 0x3704
_DISPLAY_NAME: Final = 0x3001
_OBJECT: Final = 0x3701
_MIME_TYPE: Final = 0x370E
_CONTENT_ID: Final = 0x3712
_TEXT: Final = 0x1000
_RTF: Final = 0x1009
_HTML: Final = 0x1013
_HTML_CODEPAGE: Final = 0x3FDE

# Octets of fixed-size values, padded to four ([MS-OXTNEF] §2.1.3.4).
_FIXED: Final = {
    0x02: 4, 0x03: 4, 0x04: 4, 0x05: 8, 0x06: 8, 0x07: 8, 0x0A: 4, 0x0B: 4, 0x14: 8, 0x40: 8,
    0x48: 16,
}  # fmt: skip
_STRING, _UNICODE, _EMBEDDED, _BINARY = 0x1E, 0x1F, 0x0D, 0x102
_MULTIPLE: Final = 0x1000
_NAMED: Final = 0x8000
_INTERFACE: Final = 16
_MESSAGE_INTERFACE: Final = bytes.fromhex("0703020000000000c000000000000046")


@dataclass(slots=True)
class TnefFile:
    """A file found in the stream; ``name`` may be empty."""

    name: str
    data: bytes
    content_type: str = "application/octet-stream"
    content_id: str | None = None


@dataclass(slots=True)
class Tnef:
    """What a stream holds."""

    files: list[TnefFile] = field(default_factory=list)
    text: str | None = None
    html: str | None = None
    rtf: bytes | None = None


@dataclass(slots=True)
class _Attachment:
    title: str = ""
    data: bytes | None = None
    properties: dict[int, tuple[int, bytes]] = field(default_factory=dict)


def read_tnef(stream: bytes) -> Tnef | None:
    """Take a stream apart as far as it goes; None if it is none; never raises."""
    if not stream.startswith(_SIGNATURE):
        return None
    result = Tnef()
    charset = "cp1252"
    attachments: list[_Attachment] = []
    for attribute, value in _attributes(stream):
        if attribute == _RENDERING and len(attachments) < _MAX_FILES:
            attachments.append(_Attachment())
        elif attribute == _CODEPAGE and len(value) >= _U32.size:
            charset = _charset(_U32.unpack_from(value)[0])
        elif attribute == _BODY:
            result.text = decode(value.rstrip(b"\0"), charset)
        elif attribute == _MESSAGE:
            _read_bodies(_properties(value), charset, result)
        elif attachments and attribute == _TITLE:
            attachments[-1].title = decode(value.rstrip(b"\0"), charset)
        elif attachments and attribute == _DATA:
            attachments[-1].data = value
        elif attachments and attribute == _ATTACHMENT:
            attachments[-1].properties = _properties(value)
    for attachment in attachments:
        result.files.extend(_files(attachment, charset))
    _tell_apart(result.files)
    return result


def _attributes(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """(id, value) of the attributes; a cut one ends the stream."""
    position = len(_SIGNATURE) + _U16.size
    while position + _ATTRIBUTE.size <= len(stream):
        _, attribute, length = _ATTRIBUTE.unpack_from(stream, position)
        position += _ATTRIBUTE.size
        yield attribute, stream[position : position + length]
        position += length + _U16.size


def _charset(codepage: int) -> str:
    return "utf-8" if codepage == 65001 else f"cp{codepage}"


def _properties(value: bytes) -> dict[int, tuple[int, bytes]]:
    """(type, first value) of the properties by id, as far as they can be read."""
    found: dict[int, tuple[int, bytes]] = {}
    try:
        reader = _Reader(value)
        for _ in range(min(reader.number(), _MAX_PROPERTIES)):
            kind, identifier = reader.short(), reader.short()
            if identifier >= _NAMED:
                reader.take(16)
                if reader.number():
                    reader.padded(reader.number())
                else:
                    reader.number()
            content = reader.values(kind)
            found.setdefault(identifier, (kind & ~_MULTIPLE, content))
    except _CutError:
        pass
    return found


class _CutError(Exception):
    """The stream ends inside a value."""


class _Reader:
    """Takes values off a run of octets."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, size: int) -> bytes:
        end = self._position + size
        if end > len(self._data):
            raise _CutError
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def padded(self, size: int) -> bytes:
        taken = self.take(size)
        self._position += -size % 4
        return taken

    def short(self) -> int:
        return int(_U16.unpack(self.take(2))[0])

    def number(self) -> int:
        return int(_U32.unpack(self.take(4))[0])

    def values(self, kind: int) -> bytes:
        """The first value of a property, all of them passed over."""
        base = kind & ~_MULTIPLE
        variable = base in (_STRING, _UNICODE, _EMBEDDED, _BINARY)
        if not variable and base not in _FIXED:
            raise _CutError  # Unknown: where it ends cannot be told.
        count = self.number() if variable or kind & _MULTIPLE else 1
        first = b""
        for index in range(min(count, _MAX_VALUES)):
            content = self.padded(self.number()) if variable else self.take(_FIXED[base])
            first = first if index else content
        return first


def _read_bodies(properties: dict[int, tuple[int, bytes]], charset: str, result: Tnef) -> None:
    if _TEXT in properties:
        result.text = _string(properties, _TEXT, charset)
    if _HTML in properties:
        codepage = properties.get(_HTML_CODEPAGE, (0, b""))[1]
        label = _charset(_U32.unpack(codepage)[0]) if len(codepage) == _U32.size else None
        result.html = decode(properties[_HTML][1].rstrip(b"\0"), label)
    if _RTF in properties:
        result.rtf = decompress_rtf(properties[_RTF][1])


def _files(attachment: _Attachment, charset: str) -> Iterator[TnefFile]:
    properties = attachment.properties
    name = (
        _string(properties, _LONG_NAME, charset)
        or attachment.title
        or _string(properties, _SHORT_NAME, charset)
        or _string(properties, _DISPLAY_NAME, charset)
    )
    kind = _string(properties, _MIME_TYPE, charset).lower() or "application/octet-stream"
    content_id = _string(properties, _CONTENT_ID, charset).strip("<>") or None
    if attachment.data is not None:
        yield TnefFile(name, attachment.data, kind, content_id)
    if _OBJECT in properties:
        kind_of_value, data = properties[_OBJECT]
        if kind_of_value == _EMBEDDED:
            if data.startswith(_MESSAGE_INTERFACE):
                kind = "application/ms-tnef"
            data = data[_INTERFACE:]
        yield TnefFile(name, data, kind, content_id)


def _string(properties: dict[int, tuple[int, bytes]], identifier: int, charset: str) -> str:
    kind, value = properties.get(identifier, (_STRING, b""))
    if kind == _UNICODE:
        return value.decode("utf-16-le", "replace").rstrip("\0")
    return decode(value.rstrip(b"\0"), charset) if kind == _STRING else ""


def _tell_apart(files: list[TnefFile]) -> None:
    """Number the names that several files bear."""
    bearers = Counter(file.name for file in files if file.name)
    numbers: Counter[str] = Counter()
    for file in files:
        name = file.name
        if bearers[name] > 1:
            numbers[name] += 1
            path = PurePosixPath(name)
            file.name = f"{name.removesuffix(path.suffix)}.{numbers[name]}{path.suffix}"
