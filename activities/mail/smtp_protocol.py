"""aiosmtplib's protocol with what it lacks: pipelining, and writing while a reply may come.

``aiosmtplib.SMTP`` writes the content and the final dot at once and hides whether the connection
or the greeting failed, so we stand on ``SMTPProtocol``, the layer below, which parses replies,
upgrades to TLS and bounds what a server may send (32 KiB a reply). This module alone knows its
private names: ``_buffer``, ``_drain_helper``, ``_drain_waiters``, ``_paused``,
``_read_response_from_buffer``, ``_response_pending``, ``_response_waiter``.
``tests/mail/test_smtp_protocol.py`` pins them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiosmtplib import SMTPResponse, SMTPResponseException
from aiosmtplib.protocol import MAX_RESPONSE_LENGTH, SMTPProtocol


class ClientProtocol(SMTPProtocol):
    """``SMTPProtocol`` that can await several replies in a row (RFC 2920)."""

    outstanding = 0
    """Replies that were asked for by ``post`` or ``expect`` and have not been read yet."""
    surplus = False
    """Whether more had arrived when the last reply was read."""

    def post(self, lines: Sequence[bytes]) -> None:
        """Write commands without waiting; ``next_response`` has to follow once for each."""
        self.outstanding += len(lines)
        self.write(b"".join(line + b"\r\n" for line in lines))

    def expect(self) -> None:
        """Keep the reply to what is written from now on, whenever it comes: a reply to content."""
        self.outstanding += 1

    def arrived(self) -> SMTPResponse | None:
        """Return the next reply if it is here already."""
        if len(self._buffer) > MAX_RESPONSE_LENGTH * self.outstanding:
            raise SMTPResponseException(-1, "Response too long")
        response = self._read_response_from_buffer()
        if response is not None:
            self.outstanding -= 1
        return response

    async def next_response(self, timeout: float) -> SMTPResponse:  # noqa: ASYNC109
        """Return the next reply to what was posted or expected; it may be here already."""
        response = self.arrived()
        if response is None:
            response = await self.read_response(timeout)
            self.outstanding -= 1
        return response

    def data_received(self, data: bytes) -> None:
        """Keep what arrives while nobody awaits it, if it was asked for; the base drops it."""
        waiter = self._response_waiter
        if self.outstanding and waiter and (waiter.done() or not self._response_pending):
            # Of what is too long, enough is kept to tell.
            if len(self._buffer) <= MAX_RESPONSE_LENGTH * self.outstanding:
                self._buffer.extend(data)
            self._wake_writer()
        else:
            super().data_received(data)

    def eof_received(self) -> bool:
        """Have a writer look: nobody may be left to read what it writes."""
        closes = super().eof_received()
        self._wake_writer()
        return closes

    @property
    def has_more(self) -> bool:
        """Whether the server has sent more than the replies read."""
        return bool(self._buffer)

    async def read_response(self, timeout: float | None = None) -> SMTPResponse:  # noqa: ASYNC109
        """Return a reply; ``surplus`` says what came with it, also when it is thrown away later."""
        async with asyncio.timeout(timeout):
            response = await super().read_response(None)
        self.surplus = bool(self._buffer)
        return response

    @property
    def congested(self) -> bool:
        """Whether some of what was written has not left yet."""
        return self._paused

    async def drain(self) -> None:
        """Wait until what was written has left, the server says something, or the line is lost."""
        await self._drain_helper()

    def _wake_writer(self) -> None:
        for waiter in self._drain_waiters:
            if not waiter.done():
                waiter.set_result(None)
