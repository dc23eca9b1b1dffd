"""Starts the subscriptions of accounts that ask for one, now and whenever an account changes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from activities.ports import Subscriptions
from activities.store import account_versions
from activities.store.accounts import Accounts
from activities.store.readers import Readers
from models.account import EmailAccount, IncomingProtocol
from models.errors import ConnectorError, ErrorType
from models.ids import subscription_workflow_id
from models.settings import Settings
from models.subscription import SubscribeForEmailNotificationInput, terms_of

_AT_ONCE = 10
_WITHOUT_FOLDERS = (IncomingProtocol.POP3, IncomingProtocol.POP3S)

_log = logging.getLogger(__name__)


@asynccontextmanager
async def flagged_started(
    readers: Readers, accounts: Accounts, subscriptions: Subscriptions, settings: Settings
) -> AsyncIterator[None]:
    """See to the flagged accounts while the block runs.

    Each worker does; a subscription that runs is left alone. One that ends with its account or its
    flag ends by itself.
    """
    keeper = _Keeper(readers, accounts, subscriptions)
    task = asyncio.create_task(keeper.keep(settings.listen_look_seconds))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class _Keeper:
    def __init__(self, readers: Readers, accounts: Accounts, subscriptions: Subscriptions) -> None:
        self._readers = readers
        self._accounts = accounts
        self._subscriptions = subscriptions
        self._seen: dict[str, datetime] = {}

    async def keep(self, seconds: float) -> None:
        while True:
            # What is away is asked again.
            with contextlib.suppress(ConnectorError):
                await self._look()
            await asyncio.sleep(seconds)

    async def _look(self) -> None:
        found = await self._readers.read(account_versions.versions)
        self._seen = {key: at for key, at in self._seen.items() if key in found}
        changed = {key for key, at in found.items() if self._seen.get(key) != at}
        if not changed:
            return
        accounts = await self._readers.read(self._accounts.list)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def see_to(account: EmailAccount) -> None:
            async with gate:
                if _is_flagged(account):
                    await self._start(account)
                self._seen[account.id] = found[account.id]

        tasks = (see_to(account) for account in accounts if account.id in changed)
        for problem in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(problem, BaseException) and not isinstance(problem, ConnectorError):
                raise problem

    async def _start(self, account: EmailAccount) -> None:
        folder = account.retrieval.folder
        request = SubscribeForEmailNotificationInput(
            account=account.id, folder=folder, while_flagged=True
        )
        workflow_id = subscription_workflow_id(account.id, folder)
        try:
            await self._subscriptions.start(workflow_id, request, terms_of(request, account.id))
        except ConnectorError as error:
            if error.type is not ErrorType.STATE_CONFLICT:
                raise
            # Somebody has subscribed on terms of their own, which go first.
            _log.info("account %s is subscribed to on other terms", account.id)


def _is_flagged(account: EmailAccount) -> bool:
    incoming = account.incoming
    imap = incoming is not None and incoming.protocol not in _WITHOUT_FOLDERS
    return imap and account.retrieval.subscribe
