"""Listens to one folder: connects, waits, connects again, and parks when a person has to act."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from contextlib import suppress
from datetime import timedelta
from typing import Final

from activities.listening.changes import AccountChanges
from activities.listening.telling import Teller
from activities.ports import Endpoint, FolderWatch, FolderWatcher, WatchTiming
from activities.providers.registry import Providers
from activities.store import account_versions
from activities.store.accounts import Accounts
from activities.store.readers import Readers
from models.account import EmailAccount
from models.errors import ConnectorError, ErrorType
from models.settings import Settings
from models.subscription import EndReason, FolderMark, ListenerState

_FIRST_PAUSE: Final = 1.0
_LAST_PAUSE: Final = 15.0
"""A network that is back is used within this; the pauses are jittered."""
_LAST_REFUSED_PAUSE: Final = 300.0
"""The same for a server that answers, and refuses: too many connections, say."""
_PARKED_SECONDS: Final = 3600.0
_STEADY_SECONDS: Final = 60.0
"""A connection that stood for so long was no part of a series of failures."""
_AWAY: Final = frozenset(
    {
        ErrorType.HOST_NOT_FOUND,
        ErrorType.CONNECTION_FAILED,
        ErrorType.CONNECTION_TIMED_OUT,
        ErrorType.CONNECTION_LOST,
        ErrorType.STORE_UNAVAILABLE,
    }
)


class Listening:
    """What all listeners of a worker share.

    Args:
        watcher: Opens connections.
        readers: Reads accounts.
        accounts: Finds them.
        changes: Tells of changed ones.
        providers: What is known of mail providers.
        settings: The pace.
    """

    def __init__(
        self,
        watcher: FolderWatcher,
        readers: Readers,
        accounts: Accounts,
        changes: AccountChanges,
        providers: Providers,
        settings: Settings,
    ) -> None:
        self._watcher = watcher
        self._readers = readers
        self._accounts = accounts
        self._changes = changes
        self._providers = providers
        self._settings = settings

    async def listen(
        self, account_id: str, folder: str, teller: Teller, *, while_flagged: bool
    ) -> EndReason:
        """Listen until the subscription has nothing to listen to any more.

        The connection is closed when this returns or is cancelled.
        """
        failures = 0
        loop = asyncio.get_running_loop()
        with self._changes.of(account_id) as seen:
            while True:
                begun = loop.time()
                try:
                    # First, so that a change while the account is read is a change.
                    found = await self._readers.read(account_versions.versions)
                    seen.version = found.get(account_id)
                    seen.outdated.clear()
                    account, endpoint = await self._where(account_id)
                    flagged = account.retrieval.subscribe and account.retrieval.folder == folder
                    if while_flagged and not flagged:
                        return EndReason.NOT_FLAGGED
                    await _unless(seen.outdated, self._watch(account, endpoint, folder, teller))
                    failures = 0
                except ConnectorError as error:
                    if error.type is ErrorType.ACCOUNT_NOT_FOUND:
                        return EndReason.ACCOUNT_GONE
                    failures = 0 if loop.time() - begun > _STEADY_SECONDS else failures + 1
                    state, pause = _rest(error, failures)
                    teller.failed(state, error)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await seen.outdated.wait()

    async def _where(self, account_id: str) -> tuple[EmailAccount, Endpoint]:
        account, endpoint = await self._readers.read(
            lambda s: self._accounts.incoming(s, account_id)
        )
        if account.incoming and not account.incoming.protocol.has_folders:
            raise ConnectorError(
                ErrorType.CAPABILITY_MISSING,
                "only IMAP servers tell of new mail; give the account an IMAP server",
                field="account",
            )
        return account, endpoint

    async def _watch(
        self, account: EmailAccount, endpoint: Endpoint, folder: str, teller: Teller
    ) -> None:
        watch = await self._watcher.open(endpoint, folder, self._timing(account, endpoint))
        try:
            options = account.retrieval
            number = None if options.replicate_everything else options.number_of_emails
            mark = FolderMark(
                uid_validity=watch.opened.uid_validity, uid_next=watch.opened.uid_next
            )
            # Now, and not before the folder was opened: whatever came until then is looked for,
            # and whatever comes from then on is told of.
            teller.connected(_state(watch), mark, number)
            while True:
                teller.arrived(await watch.wait(), _state(watch))
        finally:
            watch.close()

    def _timing(self, account: EmailAccount, endpoint: Endpoint) -> WatchTiming:
        settings = self._settings
        profile = self._providers.retrieving(endpoint.host, account.provider)
        # Spread, so that hundreds of connections do not all ask in the same second.
        probe = min(settings.listen_probe_seconds, profile.idle_renewal_seconds)
        return WatchTiming(
            probe=timedelta(seconds=probe * random.uniform(0.9, 1)),  # noqa: S311 - no secret
            reply=timedelta(seconds=settings.listen_reply_seconds),
            poll=timedelta(seconds=settings.listen_poll_seconds),
        )


def _state(watch: FolderWatch) -> ListenerState:
    return ListenerState.IDLE if watch.idles else ListenerState.POLLING


def _rest(error: ConnectorError, failures: int) -> tuple[ListenerState, float]:
    if not error.temporary:
        return ListenerState.PARKED, _PARKED_SECONDS
    last = _LAST_PAUSE if error.type in _AWAY else _LAST_REFUSED_PAUSE
    pause = min(_FIRST_PAUSE * 2 ** min(failures, 10), last)
    return ListenerState.WAITING, pause * random.uniform(0.5, 1)  # noqa: S311 - no secret


async def _unless(changed: asyncio.Event, work: Awaitable[None]) -> None:
    """Run ``work`` until ``changed`` is set; raises what it raises."""
    working = asyncio.ensure_future(work)
    changing = asyncio.create_task(changed.wait())
    try:
        await asyncio.wait({working, changing}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        changing.cancel()
        working.cancel()
        await asyncio.gather(changing, working, return_exceptions=True)
