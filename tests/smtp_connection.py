"""One client's conversation with the test server of ``tests.smtp_server``."""

from __future__ import annotations

import asyncio
import base64
import hmac
import random
import re
import socket
import struct
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from tests.smtp_server import SmtpServer

REFUSALS = {
    "connect": ("421 4.3.2 too busy", "521 5.3.2 no mail here"),
    "banner": ("421 4.3.2 too busy", "554 5.3.2 no service"),
    "ehlo": ("421 4.3.2 too busy", "550 5.7.1 not you"),
    "starttls": ("454 4.7.0 TLS not available", "501 5.5.4 no TLS"),
    "tls": ("421 4.3.2 too busy", "554 5.3.2 no service"),
    "auth": ("454 4.7.0 no directory", "535 5.7.8 bad credentials"),
    "mail": ("451 4.3.0 not now", "550 5.7.1 sender refused"),
    "rcpt": ("451 4.7.1 greylisted, try again in 5 minutes", "550 5.1.1 no such user"),
    "data": ("451 4.3.0 not now", "554 5.5.1 no"),
    "body": ("451 4.3.0 not now", "554 5.6.0 no"),
    "before_dot": ("451 4.3.0 not now", "554 5.6.0 no"),
    "after_dot": ("451 4.3.0 not now", "554 5.6.0 no"),
    "reply": ("451 4.3.0 not now", "554 5.6.0 no"),
    "quit": ("421 4.3.0 what", "500 5.5.1 what"),
}
"""Stages in order, and what 4xx and 5xx say there.

``connect``: the connection ends as well; at ``banner`` it stays. ``tls``: in clear, instead of the
handshake. ``body``: the first bytes of the content are here. ``before_dot``: all of it is (by
SIZE=), or even the dot; not accepted. ``after_dot``: the dot is here; not accepted. ``reply``: as a
4xx or 5xx not accepted; else accepted and in the ledger, only the reply is missing.
"""
WAYS = ("rst", "fin", "hang", "4xx", "5xx", "garbage")
GARBAGE = b"\xff\x00?? <html>no SMTP\r\n"
EXTENSIONS = ("PIPELINING", "SIZE 35882577", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8")
_PATH = re.compile(r"(?:MAIL FROM|RCPT TO):<(.*?)>(.*)", re.I)


class _GoneError(Exception):
    """The connection is over."""


class Connection:
    """One client: ``raw`` is what it sent in clear or decrypted, ``commands`` its command lines.

    ``replies`` go before those of the server; an empty one is silence.
    """

    def __init__(
        self, server: SmtpServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.raw = bytearray()
        self.commands: list[str] = []
        self.over_tls = False
        self.replies: dict[str, str] = {}
        self.ended: str | None = None
        self._server, self._reader, self._writer = server, reader, writer
        self._buffer = bytearray()
        self._authenticated = False
        self._sender: str | None = None
        self._rcpts: list[str] = []
        self._size: int | None = None

    async def run(self) -> None:
        try:
            await self._talk()
        except (_GoneError, OSError):
            self.ended = self.ended or "gone"
        finally:
            self._writer.transport.abort()

    def cut(self) -> None:
        """Close the connection, as a server does that has waited for long enough."""
        self._writer.close()

    async def answer(self, text: str) -> None:
        """Say after all what a fault has kept back."""
        await self._say(text)

    async def _talk(self) -> None:
        if await self._faulty("connect"):
            return
        if self._server.implicit_tls:
            await self._start_tls()
        if await self._faulty("banner"):
            return await self._until_quit()
        await self._say("220 test.example ESMTP")
        while True:
            line = await self._line()
            self.commands.append(line)
            verb = line.split(" ")[0].upper()
            handler = getattr(self, f"_on_{verb.lower()}", None)
            stage = "ehlo" if verb == "HELO" else verb.lower()
            if stage in REFUSALS and await self._faulty(stage):
                continue
            if (text := self._canned(verb)) is not None:
                if text:
                    await self._say(text)
            elif handler is None:
                await self._say("500 5.5.1 unknown command")
            else:
                await handler(line)

    # --- commands ---------------------------------------------------------------------------------

    async def _on_ehlo(self, _line: str) -> None:
        if self._server.extensions is None:
            return await self._say("502 5.5.1 HELO, please")
        offers = ["test.example", *self._server.extensions]
        if self._server.tls and not self.over_tls:
            offers.append("STARTTLS")
        if self._server.auth:
            offers.append("AUTH " + " ".join(self._server.mechanisms))
        lines = [f"250-{offer}" for offer in offers[:-1]] + [f"250 {offers[-1]}"]
        await self._say("\r\n".join(lines))

    async def _on_helo(self, _line: str) -> None:
        await self._say("250 test.example")

    async def _on_starttls(self, _line: str) -> None:
        if self._server.tls is None:
            return await self._say("502 5.5.1 no TLS")
        self._writer.write(b"220 2.0.0 go ahead\r\n" + self._server.after_starttls)
        await self._start_tls()

    async def _on_auth(self, line: str) -> None:
        _, mechanism, *initial = line.split(" ")
        user, password = self._server.auth or ("", "")
        if mechanism not in self._server.mechanisms:
            return await self._say("504 5.5.4 unknown mechanism")
        if mechanism == "PLAIN":
            answer = initial[0] if initial else await self._ask("")
            good = base64.b64decode(answer) == f"\0{user}\0{password}".encode()
        elif mechanism == "LOGIN":
            names = [initial[0] if initial else await self._ask("Username:")]
            names.append(await self._ask("Password:"))
            good = [base64.b64decode(name).decode() for name in names] == [user, password]
        else:
            challenge = f"<{random.randrange(10**9)}@test.example>"
            digest = hmac.new(password.encode(), challenge.encode(), "md5").hexdigest()
            good = base64.b64decode(await self._ask(challenge)).decode() == f"{user} {digest}"
        self._authenticated = good
        await self._say("235 2.7.0 welcome" if good else "535 5.7.8 bad credentials")

    async def _on_mail(self, line: str) -> None:
        match = _PATH.fullmatch(line)
        if self._server.auth and not self._authenticated:
            await self._say("530 5.7.0 authentication required")
        elif match is None:
            await self._say("501 5.5.4 syntax")
        elif self._sender is not None:
            await self._say("503 5.5.1 nested MAIL")
        else:
            size = re.search(r"SIZE=(\d+)", match[2])
            self._sender, self._rcpts = match[1], []
            self._size = int(size[1]) if size else None
            await self._say("250 2.1.0 ok")

    async def _on_rcpt(self, line: str) -> None:
        match = _PATH.fullmatch(line)
        if match is None or self._sender is None:
            return await self._say("501 5.5.4 syntax")
        reply = self._server.recipients.get(match[1], 250)
        text = reply if isinstance(reply, str) else f"{reply} {reply // 100}.1.5 recipient"
        if text.startswith("2"):
            self._rcpts.append(match[1])
        await self._say(text)

    async def _on_data(self, _line: str) -> None:
        if not self._rcpts or self._sender is None:
            return await self._say("554 5.5.1 no valid recipients")
        await self._say("354 go ahead")
        sender, rcpts = self._sender, self._rcpts
        content = await self._content()
        self._sender, self._rcpts = None, []
        if content is None or await self._faulty("after_dot"):
            return
        if (text := self._canned(".")) is not None:
            return await self._say(text)
        way = self._server.fault("reply")
        if way not in ("4xx", "5xx"):
            self._server.accept(sender, rcpts, content)
        if way is None:
            await self._say("250 2.0.0 accepted")
        else:
            await self._do("reply", way)

    async def _on_rset(self, _line: str) -> None:
        self._sender, self._rcpts = None, []
        await self._say("250 2.0.0 ok")

    async def _on_noop(self, _line: str) -> None:
        await self._say("250 2.0.0 ok")

    async def _on_quit(self, _line: str) -> NoReturn:
        await self._say("221 2.0.0 bye")
        self.ended = "quit"
        raise _GoneError

    async def _until_quit(self) -> None:
        """What RFC 5321 §3.1 asks of a server that has refused with its greeting."""
        while not (await self._line()).upper().startswith("QUIT"):
            await self._say("503 5.5.1 bad sequence")
        await self._say("221 2.0.0 bye")

    # --- bytes ------------------------------------------------------------------------------------

    async def _content(self) -> bytes | None:
        """The content without stuffing, or None when a fault refused it."""
        refused = False
        data = bytearray(b"\r\n") + self._buffer
        self._buffer.clear()
        searched = 0
        pending = ["body", "before_dot"]
        while True:
            end = data.find(b"\r\n.\r\n", searched)
            searched = max(0, len(data) - 4)
            here = end >= 0 or (self._size is not None and len(data) - 2 >= self._size)
            amidst = len(data) - 2 > self._server.body_after
            for stage, due in (("body", amidst), ("before_dot", here)):
                if due and stage in pending:
                    pending.remove(stage)
                    refused = await self._faulty(stage) or refused
            if end >= 0:
                break
            await self._fill()
            data += self._buffer
            self._buffer.clear()
        self._buffer += data[end + 5 :]
        return None if refused else bytes(data[: end + 2].replace(b"\r\n..", b"\r\n.")[2:])

    def _canned(self, verb: str) -> str | None:
        return self.replies.get(verb, self._server.replies.get(verb))

    async def _fill(self) -> None:
        data = await self._reader.read(65536)
        if not data:
            self.ended = self.ended or "eof"
            raise _GoneError
        self._buffer += data
        if self._server.record:
            self.raw += data

    async def _line(self) -> str:
        while (end := self._buffer.find(b"\r\n")) < 0:
            await self._fill()
        line = self._buffer[:end].decode("utf-8", "surrogateescape")
        del self._buffer[: end + 2]
        return line

    async def _ask(self, challenge: str) -> str:
        await self._say("334 " + base64.b64encode(challenge.encode()).decode())
        answer = await self._line()
        self.commands.append(answer)
        return answer

    async def _say(self, text: str) -> None:
        low, high = self._server.delay_ms
        if high:
            await asyncio.sleep(random.uniform(low, high) / 1000)
        self._writer.write(text.encode("utf-8", "surrogateescape") + b"\r\n")
        await self._writer.drain()

    async def _start_tls(self) -> None:
        if self._server.tls is None:
            raise ValueError("no certificate")
        if way := self._server.fault("tls"):
            await self._fill()  # the ClientHello: before it, all that comes is thrown away
            await self._do("tls", way)
            while True:
                await self._fill()
        await self._writer.start_tls(self._server.tls)
        self.over_tls = True
        self._buffer.clear()

    # --- faults -----------------------------------------------------------------------------------

    async def _faulty(self, stage: str) -> bool:
        way = self._server.fault(stage)
        if way is None:
            return False
        await self._do(stage, way)
        return True

    async def _do(self, stage: str, way: str) -> None:
        self._server.struck.set()
        match way:
            case "hang":
                await asyncio.Event().wait()
            case "rst":
                linger = struct.pack("ii", 1, 0)  # close() now sends RST
                self._writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
                raise _GoneError
            case "fin":
                # Only a half-close is a sure FIN: close() with unread input sends RST.
                if self._writer.can_write_eof():
                    self._writer.write_eof()
                    while await self._reader.read(65536):
                        pass
                else:  # TLS: close_notify, then FIN
                    self._writer.close()
                    await self._writer.wait_closed()
                raise _GoneError
            case "garbage":
                self._writer.write(GARBAGE)
                await self._writer.drain()
            case _:
                await self._say(REFUSALS[stage][way == "5xx"])
