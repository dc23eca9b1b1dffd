"""Cases of ``SendEmail``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from temporalio.client import WorkflowFailureError

from models.names import WorkflowType
from tools.histories.stage import Run, Stage, answered, case, mail, plain_server
from tools.servers.process import LOOPBACK, free_port

SEND = WorkflowType.SEND_EMAIL


for _name, _message in {
    "sent": {},
    "tracked_sent": {},
    "partially_sent": {"to": "to@example.net; nobody@reject.test"},
    "refused": {"to": "nobody@reject.test"},
    "malformed_address": {"to": "nobody"},
}.items():

    @case(f"SendEmail/{_name}")
    async def _send(stage: Stage, message: dict[str, Any] = _message) -> Run:
        return await stage.end(SEND, mail(stage.account()[0], **message))


@case("SendEmail/unknown_account")
@case("SendEmail/tracked_failed")
async def _unknown_account(stage: Stage) -> Run:
    return await stage.end(SEND, mail("nobody"))


@case("SendEmail/wrong_password")
async def _wrong_password(stage: Stage) -> Run:
    return await stage.end(SEND, mail(stage.account(password="wrong")[0]))  # noqa: S106


@case("SendEmail/given_up")
async def _given_up(stage: Stage) -> Run:
    account, _ = stage.account(max_send_attempts=1)
    return await stage.end(SEND, mail(account, to="to@example.net;later@defer.test"))


@case("SendEmail/cancelled")
@case("SendEmail/tracked_cancelled")
async def _cancelled(stage: Stage) -> Run:
    account, _ = stage.account(outgoing=plain_server(free_port()))
    handle = await stage.start(SEND, mail(account))
    await answered(handle)
    await handle.cancel()
    with suppress(WorkflowFailureError):
        await handle.result()
    return handle


@asynccontextmanager
async def forgetful_server(
    losses: int = 0, silent: asyncio.Event | None = None
) -> AsyncIterator[int]:
    """An SMTP server that goes away instead of answering the first final dots; yields its port.

    With ``silent`` it does not answer its first client at all, and sets that.
    """
    lost = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal lost
        if silent is not None and not silent.is_set():
            silent.set()
            await reader.read()
        writer.write(b"220 test\r\n")
        content = False
        while line := await reader.readline():
            if content and line != b".\r\n":
                continue
            if content and lost < losses:
                lost += 1
                break
            content = line == b"DATA\r\n"
            writer.write(b"354 go ahead\r\n" if content else b"250 ok\r\n")
        writer.close()

    async with await asyncio.start_server(serve, LOOPBACK, 0) as server:
        yield server.sockets[0].getsockname()[1]


for _policy, _case in {"verify": "unknown", "at_least_once": "unknown_sent_again"}.items():

    @case(f"SendEmail/{_case}")
    async def _lost_reply(stage: Stage, policy: str = _policy) -> Run:
        async with forgetful_server(losses=1) as port:
            account, _ = stage.account(outgoing=plain_server(port), unknown_policy=policy)
            return await stage.end(SEND, mail(account))


@case("SendEmail/copy_filed")
async def _copy_filed(stage: Stage) -> Run:
    account, user = stage.account()
    stage.dovecot.create_folder(user, "Sent")
    return await stage.end(SEND, mail(account))


for _provider, _case in {"gmail": "unknown_absent", "generic": "unknown_held"}.items():

    @case(f"SendEmail/{_case}")
    async def _looked_up(stage: Stage, provider: str = _provider) -> Run:
        async with forgetful_server(losses=1) as port:
            account, user = stage.account(outgoing=plain_server(port), provider=provider)
            stage.dovecot.create_folder(user, "Sent")
            return await stage.end(SEND, mail(account))


@case("SendEmail/worker_stopped")
async def _worker_stopped(stage: Stage) -> Run:
    connected = asyncio.Event()
    async with forgetful_server(silent=connected) as port:
        account, _ = stage.account(outgoing=plain_server(port))
        handle = await stage.start(SEND, mail(account))
        await connected.wait()
        await stage.replace_worker()
        await handle.result()
        return handle


@case("SendEmail/same_key")
async def _same_key(stage: Stage) -> Run:
    account, _ = stage.account(outgoing=plain_server(free_port()))
    first = await stage.start(SEND, mail(account) | {"idempotency_key": "k"})
    await answered(first)
    second = await stage.start(SEND, mail(account) | {"idempotency_key": "k"})
    await answered(second)
    await first.cancel()
    await second.result()
    return second
