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

_READ: Final = (
    "from|to|cc|reply-to|subject|date|message-id|in-reply-to|references|"
    "content-type|content-transfer-encoding|content-disposition|content-id"
)
_FIELD: Final = re.compile(rf"\n({_READ})[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)", re.IGNORECASE)
_NAME: Final = re.compile(r"[!-9;-~\udc80-\udcff]++[ \t]*")
# A line that neither begins a field nor visibly folds one.
_RAGGED: Final = re.compile(r"\n(?![ \t]++[^\s]|[!-9;-~\udc80-\udcff]++[ \t]*+:|\r?\Z)")
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
    lines = f"\n{section}"
    if _RAGGED.search(lines):
        return _read_ragged(section, start, body)
    headers: Headers = {}
    for name, value in _FIELD.findall(lines):
        _keep(headers, name, value)
    return headers, body


def header_is_ascii(raw: bytes) -> bool:
    """Whether the header section of a mail has no byte above 127."""
    stop, _ = _section_end(raw, 0, len(raw))
    return raw[:stop].isascii()


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


def _keep(headers: Headers, name: str, value: str) -> None:
    """Add a field; a fold is one space, whatever it was made of."""
    if "\n" in value:
        value = " ".join(filter(None, map(str.strip, value.split("\n"))))
    value = value.strip()
    if len(value) > MAX_VALUE:
        value = value[:MAX_VALUE]
    key = name.lower()
    if key in headers:
        headers[key].append(value)
    else:
        headers[key] = [value]


def _read_ragged(section: str, start: int, body: int) -> tuple[Headers, int]:
    """Read a section holding lines that are neither fields nor folds.

    An mbox separator before the first field is passed over. Any other such line ends the header,
    as if an empty line stood before it, unless a well-known field follows: then it is a broken
    field, and skipping it loses less than taking the rest of the header for text. So does a line
    of white space that no fold follows, though RFC 5322 §4.2 would have it be one.
    """
    lines = section.split("\n")
    known = max((i for i, line in enumerate(lines) if _KNOWN.match(line)), default=-1)
    fields: list[list[str]] = []
    offset, end = start, body
    for index, line in enumerate(lines):
        name, colon, _ = line.partition(":")
        if line[:1] in (" ", "\t") and index:
            if not line.strip() and not _goes_on(lines, index + 1):
                end = offset + len(line) + 1
                break
            if fields:
                fields[-1].append(line)
        elif colon and _NAME.fullmatch(name):
            fields.append([line])
        elif line.strip() and index > known and not _is_mbox_separator(line, index):
            end = offset
            break
        offset += len(line) + 1
    headers: Headers = {}
    for name, value in _FIELD.findall("".join(f"\n{line}" for field in fields for line in field)):
        _keep(headers, name, value)
    return headers, end


def _goes_on(lines: list[str], index: int) -> bool:
    """Whether a line shows that the header has not ended before it."""
    line = lines[index] if index < len(lines) else ""
    name, colon, _ = line.partition(":")
    return line[:1] in (" ", "\t") or bool(colon and _NAME.fullmatch(name))


def _is_mbox_separator(line: str, index: int) -> bool:
    return index == 0 and line.startswith(("From ", ">From "))
