"""The activities of ``SubscribeForEmailNotification``."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlmodel import Session
from temporalio import activity

from activities.listening.listener import Listening
from activities.listening.telling import Teller
from activities.ports import Subscriptions
from activities.store.accounts import Accounts
from activities.store.readers import Readers
from models.account import EmailAccount
from models.errors import ConnectorError, ErrorType
from models.ids import subscription_workflow_id
from models.names import ActivityName
from models.settings import Settings
from models.subscription import (
    EndReason,
    ListenInput,
    ListenResult,
    OpenSubscriptionInput,
    SubscriptionPlan,
    terms_of,
)


@dataclass(eq=False)
class _Attempt:
    """A listener of this worker."""

    superseded: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)


class SubscriptionActivities:
    """Finds out what to listen to, and listens."""

    def __init__(
        self,
        readers: Readers,
        accounts: Accounts,
        subscriptions: Subscriptions,
        listening: Listening,
        settings: Settings,
    ) -> None:
        self._readers = readers
        self._accounts = accounts
        self._subscriptions = subscriptions
        self._listening = listening
        self._settings = settings
        self._here: dict[str, _Attempt] = {}

    @activity.defn(name=ActivityName.OPEN_SUBSCRIPTION)
    async def open_subscription(self, request: OpenSubscriptionInput) -> SubscriptionPlan:
        """Find the account and the folder, and the one run that may listen to it.

        Whoever asks under another workflow id has that run started, or finds that it runs.
        """
        wanted = request.request
        account = await self._readers.read(lambda s: self._with_imap(s, wanted.account))
        folder = wanted.folder or account.retrieval.folder
        workflow_id = subscription_workflow_id(account.id, folder)
        if workflow_id != request.workflow_id:
            resolved = wanted.model_copy(update={"account": account.id, "folder": folder})
            await self._subscriptions.start(workflow_id, resolved, terms_of(wanted, account.id))
        return SubscriptionPlan(
            account_id=account.id,
            folder=folder,
            workflow_id=workflow_id,
            heartbeat_timeout_seconds=self._settings.listen_heartbeat_seconds,
            renew_seconds=self._settings.listen_renew_seconds,
        )

    @activity.defn(name=ActivityName.LISTEN)
    async def listen(self, request: ListenInput) -> ListenResult:
        """Listen until the listener is to be renewed, its worker stops, or it is over.

        A repeat is as good as the first: what nobody listened to is looked for at its beginning.
        """
        async with self._alone(request.workflow_id) as attempt:
            return await self._listen_for_a_while(request, attempt)

    async def _listen_for_a_while(self, request: ListenInput, attempt: _Attempt) -> ListenResult:
        teller = Teller(self._subscriptions, request.workflow_id, request.first_run_id)
        # Not all in the same minute: they were all started when the worker was.
        until = request.renew_seconds * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        tasks: set[asyncio.Task[EndReason | None]] = {
            asyncio.create_task(self._listen(request, teller)),
            asyncio.create_task(_none(teller.tell())),
            asyncio.create_task(_none(asyncio.sleep(until))),
            asyncio.create_task(_none(activity.wait_for_worker_shutdown())),
            asyncio.create_task(_none(attempt.superseded.wait())),
            asyncio.create_task(_none(_beat(teller))),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ended = [task.result() for task in done]
        finally:
            for task in tasks:
                task.cancel()
            # Until it is over the connection stands.
            await asyncio.gather(*tasks, return_exceptions=True)
        return ListenResult(ended=next((reason for reason in ended if reason), None))

    @asynccontextmanager
    async def _alone(self, workflow_id: str) -> AsyncIterator[_Attempt]:
        """End an earlier attempt that Temporal has given up and that does not know it yet."""
        attempt = _Attempt()
        earlier, self._here[workflow_id] = self._here.get(workflow_id), attempt
        try:
            if earlier is not None:
                earlier.superseded.set()
                await earlier.over.wait()
            yield attempt
        finally:
            attempt.over.set()
            if self._here.get(workflow_id) is attempt:
                del self._here[workflow_id]

    async def _listen(self, request: ListenInput, teller: Teller) -> EndReason:
        return await self._listening.listen(
            request.account_id, request.folder, teller, while_flagged=request.while_flagged
        )

    def _with_imap(self, session: Session, reference: str) -> EmailAccount:
        account = self._accounts.get(session, reference)
        if account.incoming is None:
            raise ConnectorError(
                ErrorType.ACCOUNT_INCOMPLETE,
                "the account has no incoming server; add one with 'account edit'",
                field="account.incoming",
            )
        if not account.incoming.protocol.has_folders:
            raise ConnectorError(
                ErrorType.CAPABILITY_MISSING,
                "only IMAP servers tell of new mail; give the account an IMAP server",
                field="account",
            )
        return account


async def _none(work: Awaitable[object]) -> None:
    """Wait for something whose result is no reason to end."""
    await work


async def _beat(teller: Teller) -> None:
    timeout = activity.info().heartbeat_timeout
    seconds = timeout.total_seconds() / 2.5 if timeout else 20.0
    while True:
        activity.heartbeat(teller.sign)
        await asyncio.sleep(seconds)
