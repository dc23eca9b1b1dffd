"""UID FETCH of whole mails, read straight from the wire.

imaplib copies each mail several times and keeps a whole answer in memory; here a mail is one
``bytes`` and is handed on before the next is read. Commands are sent ahead, so the server works
while we do (RFC 9051 §5.5 allows it: UIDs are never ambiguous).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from activities.mail.imap_guard import bye
from activities.mail.imap_items import Items, fetch_items, skip_literals
from activities.mail.imap_refusal import Status, refusal
from activities.mail.imap_sets import ascending_runs, ranges_of, rendered
from activities.mail.imap_wire import CRLF, Wire
from activities.ports import FetchedMail
from models.errors import ErrorType

_ITEMS: Final = b" (UID RFC822.SIZE INTERNALDATE BODY.PEEK[])"
_BATCH: Final = 100
_AHEAD: Final = 100
"""Mails asked for, beyond those of the command being answered. Larger gained nothing."""


def fetch(wire: Wire, uids: Sequence[int], max_literal: int) -> Iterator[FetchedMail]:
    """Yield the mails that still exist, in the order of ``uids``.

    Servers answer a set in ascending order, whatever its own (RFC 9051 §6.4.5 leaves it open), so
    ascending runs become one command, and in a descending list each UID has its own.
    An iterator that is not exhausted drops the connection: its answers would be taken for those
    of the next command.

    Raises:
        ConnectorError: ``ServerUnavailable`` for NO, BAD or a mail without content,
            ``MessageTooLarge`` above ``max_literal``; the detail ``uid`` is the mail it is about,
            for NO and BAD the first one of the set that did not come.
    """
    wire.reserved = True
    complete = False
    try:
        yield from _Fetch(wire, max_literal).mails(uids)
        complete = True
    finally:
        wire.reserved = False
        if not complete:
            wire.close()


class _Fetch:
    def __init__(self, wire: Wire, max_literal: int) -> None:
        self._wire = wire
        self._max_literal = max_literal
        self._wanted: set[int] = set()

    def mails(self, uids: Sequence[int]) -> Iterator[FetchedMail]:
        runs = ascending_runs(dict.fromkeys(uids), _BATCH)
        tags = (b"F%d" % number for number in itertools.count(1))
        sent: deque[tuple[bytes, list[int]]] = deque()
        ahead = 0
        while True:
            while ahead <= _AHEAD and (run := next(runs, None)):
                tag = next(tags)
                self._send(tag, run)
                sent.append((tag, run))
                ahead += len(run)
            if not sent:
                return
            tag, run = sent.popleft()
            ahead -= len(run)
            with self._wire.step("UID FETCH") as step:
                step.fact("imap.mails", len(run))
                yield from self._answer(tag, run)

    def _send(self, tag: bytes, run: list[int]) -> None:
        (uid_set,) = rendered(ranges_of(run))
        self._wire.send(tag + b" UID FETCH " + uid_set.encode("ascii") + _ITEMS + CRLF)
        self._wanted.update(run)

    def _answer(self, tag: bytes, run: list[int]) -> Iterator[FetchedMail]:
        wire = self._wire
        wire.restart()
        while True:
            line = wire.line()
            if line.startswith(b"* "):
                items = fetch_items(wire, line, self._max_literal)
                if items is not None:
                    if (mail := self._mail(items)) is not None:
                        yield mail
                        # Only a mail we asked for buys time, and what the caller took is not
                        # counted: noise may be endless.
                        wire.restart()
                else:
                    self._untagged(line)
            elif line.startswith(tag + b" "):
                self._complete(line[len(tag) + 1 :], run)
                return
            else:
                raise wire.violation("an answer to FETCH is neither untagged nor its own")

    def _mail(self, items: Items) -> FetchedMail | None:
        if not items.has_body:
            return None
        if items.uid is None or items.uid not in self._wanted:
            raise self._wire.violation("FETCH gives a mail that was not asked for")
        if not items.body and items.size:
            raise self._wire.failure(
                ErrorType.SERVER_UNAVAILABLE,
                f"the mail with UID {items.uid} has {items.size} octets, but the server gives "
                "none of them. Try again later.",
                uid=items.uid,
            )
        self._wanted.discard(items.uid)
        if items.body is None:
            # Expunged by another session while the command ran (RFC 2180 §4.1.3).
            return None
        return FetchedMail(items.uid, items.body, items.internal_date)

    def _untagged(self, line: bytes) -> None:
        status = Status.parse(line[2:])
        if status is None:
            skip_literals(self._wire, line)
        elif status.word == "BYE":
            raise bye(self._wire, status)

    def _complete(self, line: bytes, run: list[int]) -> None:
        status = Status.parse(line)
        if status is None or status.word not in ("OK", "NO", "BAD"):
            raise self._wire.violation("FETCH ended with a status that is none")
        missing = [uid for uid in run if uid in self._wanted]
        if status.word != "OK" and not status.gone:
            raise refusal(
                self._wire.endpoint,
                "fetching mails",
                status,
                ErrorType.SERVER_UNAVAILABLE,
                uid=missing[0] if missing else None,
            )
        self._wanted.difference_update(missing)
