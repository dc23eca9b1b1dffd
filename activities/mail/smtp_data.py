"""The content of a mail as SMTP wants it on the wire: CRLF line ends only, leading dots doubled.

Servers disagree about what a bare CR, a bare LF or a NUL next to a dot means; whoever accepts one
as the end of the mail reads the rest as a second mail with a forged envelope ("SMTP smuggling",
CVE-2023-51764 to -51766). So none of them ever leaves this module.
"""

from __future__ import annotations

from collections.abc import Iterator

CHUNK_BYTES = 64 * 1024


class DataEncoder:
    """Makes content fit for DATA, piece by piece; pieces may be cut anywhere.

    Line ends become CRLF (RFC 5321 §2.3.8), lines that start with a dot get a second one
    (§4.5.2). NUL, which mail must not contain (RFC 5322 §3.5), is dropped *first*: a server that
    drops it itself then sees the same bytes as one that does not. A piece that is already fit is
    handed on as it is, uncopied.
    """

    def __init__(self) -> None:
        self._at_line_start = True
        self._carriage_return = False

    def feed(self, piece: bytes) -> bytes:
        """Return what to write for ``piece``; a CR at its end waits for what follows."""
        if b"\0" in piece:
            piece = piece.replace(b"\0", b"")
        if self._carriage_return:
            piece = b"\r" + piece
        self._carriage_return = piece.endswith(b"\r")
        if self._carriage_return:
            piece = piece[:-1]
        return self._encoded(piece)

    def finish(self) -> bytes:
        """Return what is left to write after the last piece; not the final dot."""
        if not self._carriage_return:
            return b""
        self._carriage_return = False
        return self._encoded(b"\r")

    @property
    def terminator(self) -> bytes:
        """The final dot, with the CRLF before it that the content may lack (RFC 5321 §4.1.1.4)."""
        return b".\r\n" if self._at_line_start else b"\r\n.\r\n"

    def _encoded(self, piece: bytes) -> bytes:
        if not piece:
            return piece
        # Three counts and no copy tell a fit piece from one to rewrite.
        ends = piece.count(b"\r\n")
        if piece.count(b"\n") != ends or piece.count(b"\r") != ends:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        if b"\n." in piece:
            piece = piece.replace(b"\n.", b"\n..")
        if self._at_line_start and piece.startswith(b"."):
            piece = b"." + piece
        self._at_line_start = piece.endswith(b"\n")
        return piece


def encoded_chunks(content: bytes, encoder: DataEncoder) -> Iterator[bytes]:
    """Yield all of ``content`` as ``encoder`` makes it, about 64 KiB at a time.

    In chunks, so that a mail of many megabytes neither doubles in memory nor holds the event loop.
    """
    for start in range(0, len(content), CHUNK_BYTES):
        if chunk := encoder.feed(content[start : start + CHUNK_BYTES]):
            yield chunk
    if rest := encoder.finish():
        yield rest
