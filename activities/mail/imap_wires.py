"""What the connections of a connector share: where they are traced, and how they are cut."""

from __future__ import annotations

import threading
from typing import TypeVar
from weakref import WeakSet

from activities.mail.imap_wire import Wire
from activities.ports import Endpoint, Tracing
from activities.unwatched import NO_TRACING

W = TypeVar("W", bound=Wire)


class Wires:
    """All open connections."""

    def __init__(self, tracing: Tracing = NO_TRACING) -> None:
        self._tracing = tracing
        self._open: WeakSet[Wire] = WeakSet()
        self._lock = threading.Lock()
        self._cut = False

    def connect(self, endpoint: Endpoint) -> Wire:
        """Open a connection (``Wire.connect``)."""
        return self.open(Wire, endpoint)

    def open(self, kind: type[W], endpoint: Endpoint) -> W:
        """Open a connection of another protocol."""
        return kind.connect(endpoint, self._tracing, self._note)

    def cut(self) -> None:
        """Cut all connections, those to come as well: whoever waits on one hears at once."""
        with self._lock:
            self._cut = True
            wires = list(self._open)
        for wire in wires:
            wire.cut()

    def _note(self, wire: Wire) -> None:
        with self._lock:
            self._open.add(wire)
            cut = self._cut
        if cut:
            wire.cut()
