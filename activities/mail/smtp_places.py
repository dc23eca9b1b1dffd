"""What a pool keeps: places, each the right to one connection and, once opened, the connection."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from activities.mail.smtp import ClientSession
from activities.ports import ConnectionPermit, Endpoint
from models.account import LoginMethod, Security

_OURS = os.urandom(32)
"""Makes digests of secrets worthless outside of this process."""


@dataclass(frozen=True, slots=True)
class Key:
    """What two mails must have in common to go over one connection."""

    host: str
    port: int
    security: Security
    login: LoginMethod
    username: str | None
    secret: bytes | None = field(repr=False)
    """A keyed digest: who has changed a password gets other connections."""
    check_identity: bool
    ca_file: str | None
    timeout: timedelta

    @classmethod
    def of(cls, endpoint: Endpoint) -> Key:
        """The key of ``endpoint`` with the secret that it has now."""
        secret = None
        if endpoint.password is not None:
            text = endpoint.password.get_secret_value().encode()
            secret = hashlib.blake2b(text, key=_OURS, digest_size=32).digest()
        return cls(
            endpoint.host,
            endpoint.port,
            endpoint.security,
            endpoint.login,
            endpoint.username,
            secret,
            endpoint.check_identity,
            endpoint.ca_file,
            endpoint.timeout,
        )


@dataclass(slots=True, eq=False)
class Place:
    """The right to one connection of an account to a host, and that connection, if it is open."""

    account_id: str
    host: str
    permit: ConnectionPermit
    key: Key | None = None
    connection: ClientSession | None = None
    mails: int = 0
    kept: bool = False
    """Whether the connection has been of use before, so that it may have died since."""
    touched: float = 0.0

    @property
    def live(self) -> bool:
        """Whether the connection can carry a further mail, as far as is known."""
        return self.connection is not None and self.connection.connected

    @property
    def idle_seconds(self) -> float:
        """Time since it was last of use."""
        return time.monotonic() - self.touched

    def touch(self) -> None:
        """It is of use right now."""
        self.touched = time.monotonic()

    def seat(self, connection: ClientSession, key: Key) -> None:
        """Put a fresh connection here."""
        self.connection, self.key = connection, key
        self.mails, self.kept = 0, False
        self.touch()

    async def close(self) -> None:
        """QUIT, within a second, or drop the line. The place stays."""
        try:
            if self.connection is not None:
                await self.connection.leave()
        finally:
            self.connection = self.key = None

    def abort(self) -> None:
        """Drop the line at once."""
        if self.connection is not None:
            self.connection.abort()


class Shelf:
    """Places that nobody uses at the moment, by account."""

    def __init__(self) -> None:
        self._places: dict[str, list[Place]] = {}

    def __iter__(self) -> Iterator[Place]:
        return iter([place for places in self._places.values() for place in places])

    def put(self, place: Place) -> None:
        """Keep a place for the next mail."""
        self._places.setdefault(place.account_id, []).append(place)

    def remove(self, place: Place) -> None:
        """Take this one off."""
        places = self._places[place.account_id]
        places.remove(place)
        if not places:
            del self._places[place.account_id]

    def take(self, account_id: str, host: str, key: Key) -> Place | None:
        """The place of the account that serves ``key`` best: the one used last, else any."""
        here = [place for place in self._places.get(account_id, ()) if place.host == host]
        fitting = [place for place in here if place.live and place.key == key]
        # Of those that do not fit, one that has nothing to lose.
        place = next(iter([*fitting[::-1], *sorted(here, key=lambda p: p.live)]), None)
        if place is not None:
            self.remove(place)
        return place

    def strays(self, account_id: str, host: str) -> list[Place]:
        """Those of an account that lead to any other host."""
        return [place for place in self._places.get(account_id, ()) if place.host != host]

    def oldest(self, *, host: str | None = None) -> Place | None:
        """The one that has been of no use for longest (to ``host``)."""
        found = [place for place in self if host is None or place.host == host]
        return min(found, key=lambda p: p.touched, default=None)
