"""Finding a mail by its Message-ID (RFC 5322 §3.6.4): the server searches, we look at the hits.

SEARCH HEADER finds parts of a value, whatever their case (RFC 9051 §6.4.4), so each hit's header is
read and compared. The newest mails are read as well, for servers that search an index which lags
behind. What this says decides whether a mail is sent again.
"""

from __future__ import annotations

import re
from typing import Final

from activities.mail import imap_search
from activities.mail.imap_guard import GuardedIMAP4, bye, understood
from activities.mail.imap_items import fetch_items, skip_literals
from activities.mail.imap_refusal import Status, refusal
from activities.mail.imap_sets import Range, common, merged, ranges_of, rendered
from activities.mail.imap_wire import CRLF
from activities.ports import FolderState
from models.errors import ErrorType

_ITEMS: Final = b" (UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"
_MAX_HITS: Final = 1000
"""Mails with one Message-ID; a server that finds more did not search for it."""
_NEWEST: Final = 50
"""UIDs at the end of the folder that are looked at, whatever the search says."""
_FIELD: Final = re.compile(
    rb"^message-id[ \t]*:(.*(?:\r?\n[ \t].*)*)", re.IGNORECASE | re.MULTILINE
)


def find(engine: GuardedIMAP4, message_id: str, state: FolderState) -> list[int]:
    """Return the UIDs in the selected folder of mails with this Message-ID, ascending."""
    if not state.exists:
        return []
    criterion = imap_search.message_id_criterion(message_id)
    with understood(engine.wire, "searching the folder"):
        hits = imap_search.uids_by(engine, criterion)
    if len(hits) > _MAX_HITS:
        raise engine.wire.violation(f"{len(hits)} mails are said to have one Message-ID")
    wanted = f"<{imap_search.bare(message_id)}>".encode()
    newest = (state.uid_next - _NEWEST, state.uid_next - 1)
    return sorted(_having(engine, wanted, merged([*ranges_of(hits), newest])))


def _having(engine: GuardedIMAP4, wanted: bytes, uids: list[Range]) -> set[int]:
    """Those of ``uids`` whose Message-ID is ``wanted``."""
    wire = engine.wire
    found: set[int] = set()
    (uid_set,) = rendered(uids)
    with wire.step("UID FETCH"):
        # Its own reading, as imap_fetch has: what others say of their mails is not kept.
        wire.restart()
        wire.send(b"I1 UID FETCH " + uid_set.encode("ascii") + _ITEMS + CRLF)
        while True:
            line = wire.line()
            if line.startswith(b"I1 "):
                status = Status.parse(line[3:])
                if status is None or status.word not in ("OK", "NO", "BAD"):
                    raise wire.violation("FETCH ended with a status that is none")
                if status.word != "OK" and not status.gone:
                    type_ = ErrorType.SERVER_UNAVAILABLE
                    raise refusal(wire.endpoint, "reading Message-IDs", status, type_)
                return {uid for uid in found if common([(uid, uid)], uids)}
            if not line.startswith(b"* "):
                raise wire.violation("an answer to FETCH is neither untagged nor its own")
            items = fetch_items(wire, line, max_literal=0)
            if items is not None:
                if items.uid is not None and wanted in _values(items.header or b""):
                    found.add(items.uid)
            else:
                status = Status.parse(line[2:])
                if status is None:
                    skip_literals(wire, line)
                elif status.word == "BYE":
                    raise bye(wire, status)


def _values(header: bytes) -> list[bytes]:
    return [b"".join(value.split()) for value in _FIELD.findall(header)]
