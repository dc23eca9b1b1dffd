"""The shape of a handling. To add one: a new file, one line in the registry, a conformance run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from activities.ports import Mailbox
from models.mailbox import RetrievalOptions


class HandlingKind(Protocol):
    """A handling. It must be repeatable: a crash may come after any UID."""

    changes_server: bool

    def check(self, mailbox: Mailbox, options: RetrievalOptions) -> None:
        """Refuse what cannot work before anything is fetched."""

    def apply(self, mailbox: Mailbox, options: RetrievalOptions, uids: Sequence[int]) -> None:
        """Do it to these UIDs of the selected folder; UIDs that are gone are done already."""
