"""The header section of a mail or a part (RFC 5322 §2.2, §3.5), read in linear time and bounded.

Values are kept as ASCII with surrogate escapes for raw 8-bit octets (PEP 383), so that tokens can
be cut out first and decoded afterwards: a comma inside an encoded name is no address separator.
"""

from __future__ import annotations

import re
from typing import Final

MAX_VALUE: Final = 64 * 1024
"""Octets of one header value that are read; the rest is ignored. Real values are below 8 KB."""

MAX_SECTION: Final = 1024 * 1024
"""Octets of a header section in which fields are looked for."""

Headers = dict[str, list[str]]
"""Values by lower-case field name, unfolded, in order of appearance."""

_READ: Final = """
    from to cc reply-to subject date message-id in-reply-to references
    content-type content-transfer-encoding content-disposition content-id
"""
# What to do with a field by its name as written: keep it under a key, or pass it over (None).
_KNOWN_NAMES: dict[str, str | None] = {
    spelled: key
    for key in _READ.split()
    for spelled in (key, key.title(), key.title().replace("-Id", "-ID"), key.capitalize())
}
_MAX_KNOWN_NAMES: Final = 4096
_MAX_NAME: Final = 60
_NAME: Final = re.compile(r"[!-9;-~\udc80-\udcff]++[ \t]*")
# Names that a line after a broken one must bear to prove that the header goes on.
_KNOWN: Final = re.compile(
    r"(?:content-[a-z-]+|mime-version|x-[a-z0-9-]+|received|return-path|delivered-to|from|to|cc|"
    r"bcc|subject|date|message-id|reply-to|sender|in-reply-to|references|list-[a-z-]+|importance|"
    r"priority|user-agent|dkim-signature|authentication-results|thread-[a-z]+)[ \t]*:",
    re.IGNORECASE,
)


def read_headers(raw: bytes, start: int, end: int) -> tuple[Headers, int]:
    """Read the header section of ``raw[start:end]``.

    Args:
        raw: The whole mail.
        start: Where the mail or part begins.
        end: Where it ends.

    Returns:
        The fields that the reader uses, and where the body begins. A section that does not begin
        with a field is no header: all of it is body.
    """
    if raw.startswith(b"\n", start, end):
        return {}, start + 1
    if raw.startswith(b"\r\n", start, end):
        return {}, start + 2
    stop, body = _section_end(raw, start, end)
    section = raw[start : min(stop, start + MAX_SECTION)].decode("ascii", "surrogateescape")
    found: dict[str, list[list[str]]] = {}
    lines: list[str] = []
    for line in section.split("\n"):
        first = line[:1]
        if first == " " or first == "\t":
            if not line.strip():
                return _read_ragged(section, start, body)
            lines.append(line)
            continue
        name, colon, value = line.partition(":")
        if not colon:
            if line.strip():
                return _read_ragged(section, start, body)
            continue  # The end.
        lines = [value]
        try:
            key = _KNOWN_NAMES[name]
        except KeyError:
            if not _NAME.fullmatch(name):
                return _read_ragged(section, start, body)
            key = _learn(name)
        if key is None:
            continue
        if key in found:
            found[key].append(lines)
        else:
            found[key] = [lines]
    return _unfolded(found), body


def _learn(name: str) -> str | None:
    """What to do with a field of a name not met before."""
    key = name.rstrip().lower()
    known = _KNOWN_NAMES.get(key) if key != name else None
    if len(_KNOWN_NAMES) < _MAX_KNOWN_NAMES and len(name) < _MAX_NAME:
        _KNOWN_NAMES[name] = known
    return known


def _section_end(raw: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the fields end (after their last line break) and the body begins."""
    # The first line tells which line ends to look for, so that the body is not searched in vain.
    if raw.startswith(b"\r", raw.find(b"\n", start, end) - 1):
        crlf = raw.find(b"\n\r\n", start, end)
        lf = raw.find(b"\n\n", start, end if crlf < 0 else crlf)
    else:
        lf = raw.find(b"\n\n", start, end)
        crlf = raw.find(b"\n\r\n", start, end if lf < 0 else lf)
    if lf >= 0 and (crlf < 0 or lf < crlf):
        return lf + 1, lf + 2
    if crlf >= 0:
        return crlf + 1, crlf + 3
    return end, end


def _unfolded(found: dict[str, list[list[str]]]) -> Headers:
    """The values of the fields; a fold is one space, whatever it was made of."""
    headers: Headers = {}
    for key, fields in found.items():
        values = []
        for lines in fields:
            value = lines[0] if len(lines) == 1 else " ".join(filter(None, map(str.strip, lines)))
            values.append(value.strip()[:MAX_VALUE])
        headers[key] = values
    return headers


def _read_ragged(section: str, start: int, body: int) -> tuple[Headers, int]:
    """Read a section holding lines that are neither fields nor folds.

    An mbox separator before the first field is passed over. Any other such line ends the header,
    as if an empty line stood before it, unless a well-known field follows: then it is a broken
    field, and skipping it loses less than taking the rest of the header for text. So does a line
    of white space that no fold follows, though RFC 5322 §4.2 would have it be one.
    """
    lines = section.split("\n")
    known = max((i for i, line in enumerate(lines) if _KNOWN.match(line)), default=-1)
    found: dict[str, list[list[str]]] = {}
    value: list[str] = []
    offset = start
    for index, line in enumerate(lines):
        name, colon, rest = line.partition(":")
        if line[:1] in (" ", "\t") and index:
            if not line.strip() and not _goes_on(lines, index + 1):
                return _unfolded(found), offset + len(line) + 1
            value.append(line)
        elif colon and _NAME.fullmatch(name):
            value = [rest]
            key = _KNOWN_NAMES.get(name.rstrip().lower())
            if key is not None:
                found.setdefault(key, []).append(value)
        elif line.strip() and index > known and not _is_mbox_separator(line, index):
            return _unfolded(found), offset
        offset += len(line) + 1
    return _unfolded(found), body


def _goes_on(lines: list[str], index: int) -> bool:
    """Whether a line shows that the header has not ended before it."""
    line = lines[index] if index < len(lines) else ""
    name, colon, _ = line.partition(":")
    return line[:1] in (" ", "\t") or bool(colon and _NAME.fullmatch(name))


def _is_mbox_separator(line: str, index: int) -> bool:
    return index == 0 and line.startswith(("From ", ">From "))
