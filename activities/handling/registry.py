"""All handlings by name."""

from __future__ import annotations

from collections.abc import Mapping

from activities.handling.base import HandlingKind
from activities.handling.move import Move
from activities.handling.none import LeaveAlone
from activities.handling.remove import Remove
from models.mailbox import Handling

HANDLINGS: Mapping[Handling, HandlingKind] = {
    Handling.NONE: LeaveAlone(),
    Handling.REMOVE: Remove(),
    Handling.MOVE: Move(),
}
