"""COPYUID: the proof that a COPY made the copies before their originals are removed (RFC 4315)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from activities.mail.imap_refusal import Status
from activities.mail.imap_sets import Range, common, parsed, size, without


@dataclass(frozen=True, slots=True)
class Copied:
    """What of a batch the server says it copied."""

    confirmed: list[Range]
    unconfirmed: list[Range]


def confirm_copy(status: Status, batch: Sequence[Range]) -> Copied:
    """Split ``batch`` by the COPYUID of the OK to its COPY.

    A UID is confirmed only when COPYUID names it and has as many new UIDs as old ones; without
    COPYUID none is, as for a target that does not keep UIDs (UIDNOTSTICKY).

    Raises:
        ValueError: COPYUID is malformed.
    """
    if status.code != "COPYUID":
        return Copied([], list(batch))
    _validity, source, destination = status.data.split()
    sources = parsed(source)
    if size(sources) != size(parsed(destination)):
        return Copied([], list(batch))
    confirmed = common(sources, batch)
    return Copied(confirmed, without(batch, confirmed))
