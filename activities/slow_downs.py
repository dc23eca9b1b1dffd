"""Pauses that servers ask for, kept in the store (``activities.ports.SendingPauses``)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from random import SystemRandom
from typing import Any

from activities.ports import Reply
from activities.providers.profile import Profile
from activities.providers.registry import profile_of
from activities.store import pauses
from activities.store.aside import Aside
from activities.store.pauses import Growth, Pause
from activities.store.scopes import account_scope, host_scope
from models.delivery import Phase
from models.errors import ConnectorError, ErrorType
from models.settings import Settings

_KNOWN_SECONDS = 1.0
"""How long what was read is taken for true; other workers may have been told more."""
_MOST_KNOWN = 10_000
_JITTER = 0.2
_RANDOM = SystemRandom()
_CODES = frozenset({421, 432, 450, 451, 452, 454})
_CLOSING = 421
_POLICY = "4.7."
_BEFORE_LOGIN = frozenset({Phase.CONNECT, Phase.BANNER, Phase.EHLO})


@dataclass(slots=True)
class _Known:
    """What was last read about a scope, or has been heard since."""

    pause: Pause | None
    read_at: float


class SlowDowns:
    """``activities.ports.SendingPauses``.

    What a server says counts at once in this worker, and in all as soon as it is in the store;
    nobody waits for that.

    Args:
        store: Where the pauses are.
        settings: How long they are.
        profile: Finds what is known of the provider that runs a host.
    """

    def __init__(
        self, store: Aside, settings: Settings, profile: Callable[[str], Profile] = profile_of
    ) -> None:
        self._store = store
        self._growth = Growth(settings.slow_down_seconds, settings.max_slow_down_seconds)
        self._profile = profile
        self._known: dict[str, _Known] = {}

    async def check(self, account_id: str, host: str) -> None:
        """Raise ``SlowedDown`` while account or host is paused."""
        scopes = (account_scope(account_id), host_scope(host))
        await self._learn(scopes)
        asked = [pause for scope in scopes if (pause := self._pause(scope)) and pause.remaining]
        if not asked:
            return
        pause = max(asked, key=lambda p: p.until)
        said = f"{pause.code} {pause.enhanced_code or ''}".strip()
        raise ConnectorError(
            ErrorType.SLOWED_DOWN,
            f"{host} asked us to send more slowly ({said}); nothing is sent until "
            f"{pause.until:%Y-%m-%d %H:%M:%S} UTC.",
            retry_after=pause.remaining + timedelta(seconds=1),
        )

    def asks_patience(self, host: str, phase: Phase, reply: Reply) -> bool:
        """Whether a reply asks us to send more slowly.

        A refused RCPT with a code of policy speaks of that recipient: it is greylisting. A refused
        STARTTLS speaks of TLS.
        """
        code, enhanced = reply.code, reply.enhanced_code
        if code not in _CODES or enhanced is None or phase is Phase.STARTTLS:
            return False
        if phase is Phase.RCPT and code != _CLOSING and enhanced.startswith(_POLICY):
            return False
        codes = self._profile(host).slow_down
        return any(enhanced.startswith(c) if c.endswith(".") else enhanced == c for c in codes)

    def heard(self, account_id: str, host: str, phase: Phase, reply: Reply) -> bool:
        """Note a refusal; True when it asks for patience.

        Before the login it is meant for all who come from here, afterwards for the account.
        """
        if not self.asks_patience(host, phase, reply):
            return False
        scope = host_scope(host) if phase in _BEFORE_LOGIN else account_scope(account_id)
        hint = reply.retry_after.total_seconds() if reply.retry_after else 0.0
        known = self._pause(scope)
        if known is None or not known.remaining:
            # Until the store says better: nobody of this worker shall connect in between.
            until = datetime.now(UTC) + timedelta(seconds=max(self._growth.first, hint))
            strikes = known.strikes if known else 0
            self._note(scope, Pause(until, strikes, reply.code, reply.enhanced_code))
        stretch = _RANDOM.uniform(1 - _JITTER, 1 + _JITTER)
        self._store.later(
            self._strike(
                scope,
                hint=hint,
                stretch=stretch,
                code=reply.code,
                enhanced_code=reply.enhanced_code,
            )
        )
        return True

    def succeeded(self, account_id: str, host: str) -> None:
        """Note that a mail was accepted."""
        over = [
            scope
            for scope in (account_scope(account_id), host_scope(host))
            if (pause := self._pause(scope)) and not pause.remaining
        ]
        for scope in over:
            self._note(scope, None)
        if over:
            self._store.later(self._forget(over))

    async def _strike(self, scope: str, **told: Any) -> None:
        strike = partial(pauses.strike, scope=scope, growth=self._growth, **told)
        with contextlib.suppress(ConnectorError):  # then what this worker knows has to do
            self._note(scope, await self._store.write(strike))

    async def _forget(self, scopes: list[str]) -> None:
        with contextlib.suppress(ConnectorError):  # then the next pause is longer than it need be
            await self._store.write(lambda s: pauses.forget(s, scopes))

    async def _learn(self, scopes: tuple[str, ...]) -> None:
        stale = time.monotonic() - _KNOWN_SECONDS
        if all((known := self._known.get(s)) and known.read_at > stale for s in scopes):
            return
        found = await self._store.read(lambda s: pauses.pauses_of(s, scopes))
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        for scope in scopes:
            known = self._known.get(scope)
            if known is None or known.read_at <= stale:  # what was heard meanwhile is newer
                self._note(scope, found.get(scope))

    def _pause(self, scope: str) -> Pause | None:
        known = self._known.get(scope)
        return known.pause if known else None

    def _note(self, scope: str, pause: Pause | None) -> None:
        self._known[scope] = _Known(pause, time.monotonic())
