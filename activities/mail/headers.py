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

_READ: Final = frozenset(
    b"from to cc reply-to subject date message-id in-reply-to references content-type "
    b"content-transfer-encoding content-disposition content-id".split()
)

# One field with its folded lines, or (third group) one line that is none. Possessive: no input
# makes it look back.
_FIELD: Final = re.compile(
    rb"([!-9;-~\x80-\xff]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)\n?|([^\n]*+)\n?"
)
_BLANK_LINE: Final = re.compile(rb"\n[ \t]+\r?\n(?=([^\n]*))")
_HEADER_LIKE: Final = re.compile(rb"[ \t]|[!-9;-~\x80-\xff]+[ \t]*:|\r?$")
# Names that a line after a broken one must bear to prove that the header goes on.
_KNOWN: Final = re.compile(
    rb"(?im)^(?:content-[a-z-]+|mime-version|x-[a-z0-9-]+|received|return-path|delivered-to|from|"
    rb"to|cc|bcc|subject|date|message-id|reply-to|sender|in-reply-to|references|list-[a-z-]+|"
    rb"importance|priority|user-agent|dkim-signature|authentication-results|thread-[a-z]+)[ \t]*:"
)
_MBOX_LINE: Final = re.compile(rb">?From [^\n]*\n")


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
    first = raw[start : start + 2]
    if first[:1] == b"\n":
        return {}, start + 1
    if first == b"\r\n":
        return {}, start + 2
    stop, body = _section_end(raw, start, end)
    section = raw[start : min(stop, start + MAX_SECTION)]
    if b"\n \n" in section or b"\n \r\n" in section or b"\n\t\r\n" in section:
        cut = _whitespace_separator(section)
        if cut is not None:
            section = section[: cut[0]]
            body = start + cut[1]
    headers: Headers = {}
    for name, value, stray in _FIELD.findall(section):
        if name:
            key = name.lower()
            if key in _READ:
                headers.setdefault(key.decode("ascii"), []).append(_unfold(value))
        elif stray and stray != b"\r":
            return _with_stray_lines(raw, start, end, section, body)
    return headers, body


def _section_end(raw: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the fields end (after their last line break) and the body begins."""
    lf = raw.find(b"\n\n", start, end)
    crlf = raw.find(b"\n\r\n", start, end if lf < 0 else lf)
    if crlf >= 0:
        return crlf + 1, crlf + 3
    if lf >= 0:
        return lf + 1, lf + 2
    return end, end


def _whitespace_separator(section: bytes) -> tuple[int, int] | None:
    """A line of white space that separates header and body, though it should have been empty.

    RFC 5322 §4.2 would read it as folding; it is that only if the header visibly goes on.
    """
    for match in _BLANK_LINE.finditer(section):
        if not _HEADER_LIKE.match(match[1]):
            return match.start() + 1, match.end()
    return None


def _unfold(value: bytes) -> str:
    if len(value) > MAX_VALUE:
        value = value[:MAX_VALUE]
    if b"\n" in value:
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    return value.strip().decode("ascii", "surrogateescape")


def _with_stray_lines(
    raw: bytes, start: int, end: int, section: bytes, body: int
) -> tuple[Headers, int]:
    """Read a section holding lines that are no fields.

    An mbox separator before the first field is passed over. Any other such line ends the header,
    as if an empty line stood before it, unless a well-known field follows: then it is a broken
    field, and skipping it loses less than taking the rest of the header for text.
    """
    mbox = _MBOX_LINE.match(section)
    if mbox:
        return read_headers(raw, start + mbox.end(), end)
    last_known = max((m.start() for m in _KNOWN.finditer(section)), default=-1)
    headers: Headers = {}
    for match in _FIELD.finditer(section):
        name, value, stray = match.groups()
        if name:
            key = name.lower()
            if key in _READ:
                headers.setdefault(key.decode("ascii"), []).append(_unfold(value))
        elif stray and stray != b"\r" and match.start() > last_known:
            return headers, start + match.start()
    return headers, body
