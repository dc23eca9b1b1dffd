"""A leased session: connects when a mail needs it, again when its connection is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from activities.mail.smtp import ClientSession, SmtpClient
from activities.mail.smtp_places import Key, Place
from activities.ports import DsnRequest, Endpoint, Reply, SendingPauses, SmtpFailure
from activities.providers.profile import Profile
from models.delivery import Phase
from models.errors import ConnectorError, ErrorType

_TRUSTED_SECONDS = 5.0
"""A connection that was of use within this time is not asked whether it lives."""
_PROBE_SECONDS = 5.0
_CLOSING = 421


class PooledSession:
    """``activities.ports.LeasedSession`` over a place in a pool.

    Args:
        place: The right to a connection, perhaps with a kept one.
        endpoint: Where to, with the secret as it was found when the lease began.
        client: Opens connections.
        pauses: Hears what the server says about our pace.
        profile: What is known of the provider.
        renew: Swaps a place whose right has lapsed for another one.
        wanted: Whether somebody else waits for such a connection.
    """

    def __init__(
        self,
        place: Place,
        endpoint: Endpoint,
        client: SmtpClient,
        pauses: SendingPauses,
        profile: Profile,
        renew: Callable[[Place], Awaitable[Place]],
        wanted: Callable[[Place], bool],
    ) -> None:
        self.place = place
        self._endpoint = endpoint
        self._client = client
        self._pauses = pauses
        self._profile = profile
        self._renew = renew
        self._wanted = wanted
        self._key = Key.of(endpoint)
        self._phase = Phase.CONNECT
        self._transacting = False

    @property
    def phase(self) -> Phase:
        """How far the current transaction got; CONNECT when no connection was needed yet."""
        connection = self.place.connection
        if self._transacting and connection is not None:
            return connection.phase
        return self._phase

    @property
    def capabilities(self) -> frozenset[str]:
        """What the server offers; nothing before the connection is open."""
        connection = self.place.connection
        return connection.capabilities if connection is not None else frozenset()

    @property
    def connected(self) -> bool:
        """Whether there is a connection that can carry a further mail, as far as is known."""
        return self.place.live

    @property
    def mails(self) -> int:
        """Mails that the present connection has carried."""
        return self.place.mails

    @property
    def wanted(self) -> bool:
        """Whether somebody else, here or in another worker, waits for such a connection."""
        return self._wanted(self.place)

    async def ready(self) -> None:
        """Before a mail: whether it may be tried at all. Talks to no server."""
        self._phase, self._transacting = Phase.CONNECT, False
        await self._pauses.check(self.place.account_id, self.place.host)
        if self.place.permit.lost:
            self.place = await self._renew(self.place)

    async def open(self) -> None:
        """Make sure of a live, logged-in connection."""
        place = self.place
        if place.connection is not None:
            fits = place.live and place.key == self._key
            spent = place.mails >= self._profile.mails_per_connection
            if spent or not fits or not await self._lives(place):
                await place.close()
        if place.connection is None:
            await self._connect()

    async def envelope(
        self,
        sender: str,
        recipients: Sequence[str],
        size: int,
        *,
        ascii_only: bool = True,
        ascii_header: bool | None = None,
        dsn: DsnRequest | None = None,
        content_follows: bool = False,
    ) -> dict[str, Reply]:
        """MAIL, then RCPT for each recipient; over a fresh connection if the kept one is dead."""

        async def name() -> dict[str, Reply]:
            return await self._connection.envelope(
                sender,
                recipients,
                size,
                ascii_only=ascii_only,
                ascii_header=ascii_header,
                dsn=dsn,
                content_follows=content_follows,
            )

        self._phase, self._transacting = Phase.CONNECT, False
        await self.open()
        try:
            return await self._envelope(name)
        except SmtpFailure as error:
            if not self._died_idle(error):
                raise
            self._transacting = False
            self.place.abort()
            await self.place.close()
        await self._connect()
        return await self._envelope(name)

    async def _envelope(self, name: Callable[[], Awaitable[dict[str, Reply]]]) -> dict[str, Reply]:
        self._transacting = True
        try:
            replies = await name()
        except SmtpFailure as error:
            if not self._died_idle(error):
                self._heard(error)
            raise
        for reply in replies.values():
            self._pauses.heard(self.place.account_id, self.place.host, Phase.RCPT, reply)
        self.place.kept = True
        self.place.touch()
        return replies

    async def body(self, content: bytes) -> None:
        """DATA and the whole content, without the final dot."""
        try:
            await self._connection.body(content)
        except SmtpFailure as error:
            self._heard(error)
            raise
        finally:
            self.place.touch()

    async def end_of_data(self, patience: timedelta) -> Reply:
        """The final dot; waits for the reply. Nothing is awaited after it: it is the verdict."""
        try:
            reply = await self._connection.end_of_data(patience)
        except SmtpFailure as error:
            self._heard(error)
            raise
        place = self.place
        place.mails += 1
        place.touch()
        if reply.accepted:
            self._pauses.succeeded(place.account_id, place.host)
        else:
            self._pauses.heard(place.account_id, place.host, Phase.REPLY, reply)
        return reply

    async def reset(self) -> None:
        """RSET: forget the transaction."""
        if self.place.connection is not None:
            await self.place.connection.reset()
            self.place.touch()

    # --- helpers ----------------------------------------------------------------------------------

    @property
    def _connection(self) -> ClientSession:
        if self.place.connection is None:
            raise SmtpFailure(
                ErrorType.INTERNAL, "envelope() comes before the content.", phase=self._phase
            )
        return self.place.connection

    async def _lives(self, place: Place) -> bool:
        """Whether a connection that was idle still answers; RSET asks and clears in one."""
        if place.connection is None or place.idle_seconds < _TRUSTED_SECONDS:
            return place.live
        limit = min(_PROBE_SECONDS, self._endpoint.timeout.total_seconds())
        try:
            async with asyncio.timeout(limit):
                await place.connection.reset()
        except (ConnectorError, TimeoutError):
            place.abort()
            return False
        place.touch()
        return True

    async def _connect(self) -> None:
        source = self._endpoint.credentials
        try:
            await self._dial()
        except SmtpFailure as error:
            if source is None or error.type is not ErrorType.CREDENTIALS_REJECTED:
                raise
            # A token may be withdrawn before its time; a password would only be refused again.
            self._endpoint = replace(self._endpoint, password=await source.fresh(force=True))
            self._key = Key.of(self._endpoint)
            await self._dial()

    async def _dial(self) -> None:
        try:
            connection = await self._client.open(self._endpoint)
        except SmtpFailure as error:
            self._phase = error.phase
            self._heard(error)
            raise
        self._phase = connection.phase
        self.place.seat(connection, self._key)

    def _died_idle(self, error: SmtpFailure) -> bool:
        """Whether it is the connection's age that speaks; no server can know of the mail yet."""
        if not self.place.kept or not error.temporary or error.phase is not Phase.MAIL:
            return False
        if error.reply is None:
            return True
        return error.reply.code == _CLOSING and not self._pauses.asks_patience(
            self.place.host, Phase.MAIL, error.reply
        )

    def _heard(self, error: SmtpFailure) -> None:
        if error.reply is not None:
            place = self.place
            self._pauses.heard(place.account_id, place.host, error.phase, error.reply)
