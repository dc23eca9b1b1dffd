"""aiosmtplib's protocol with what it lacks: pipelining and a drain.

``aiosmtplib.SMTP`` writes the content and the final dot at once and hides whether the connection
or the greeting failed, so we stand on ``SMTPProtocol``, the layer below, which parses replies,
upgrades to TLS and bounds what a server may send (32 KiB a reply). This module alone knows its
private names: ``_buffer``, ``_drain_helper``, ``_read_response_from_buffer``,
``_response_pending``, ``_response_waiter``. ``tests/mail/test_smtp_protocol.py`` pins them.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiosmtplib import SMTPResponse
from aiosmtplib.protocol import SMTPProtocol


class ClientProtocol(SMTPProtocol):
    """``SMTPProtocol`` that can await several replies in a row (RFC 2920)."""

    outstanding = 0
    """Replies to pipelined commands that have not been read yet."""
    surplus = False
    """Whether more had arrived when the last reply was read."""

    def post(self, lines: Sequence[bytes]) -> None:
        """Write commands without waiting; ``next_response`` has to follow once for each."""
        self.outstanding += len(lines)
        self.write(b"".join(line + b"\r\n" for line in lines))

    async def next_response(self, timeout: float) -> SMTPResponse:  # noqa: ASYNC109
        """Return the next reply to what was posted; it may be here already."""
        response = self._read_response_from_buffer() or await self.read_response(timeout)
        self.outstanding -= 1
        return response

    def data_received(self, data: bytes) -> None:
        """Keep what arrives while nobody awaits it, if it was asked for; the base drops it."""
        waiter = self._response_waiter
        if self.outstanding and waiter and (waiter.done() or not self._response_pending):
            self._buffer.extend(data)
        else:
            super().data_received(data)

    @property
    def has_more(self) -> bool:
        """Whether the server has sent more than the replies read."""
        return bool(self._buffer)

    async def read_response(self, timeout: float | None = None) -> SMTPResponse:  # noqa: ASYNC109
        """Return a reply; ``surplus`` says what came with it, also when it is thrown away later."""
        response = await super().read_response(timeout)
        self.surplus = bool(self._buffer)
        return response

    async def drain(self) -> None:
        """Wait until what was written has left, or the connection is lost."""
        await self._drain_helper()
