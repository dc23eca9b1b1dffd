"""What came of mails, judged by what the SMTP server took and by what the ledger says."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlmodel import col, select

from models.account import UnknownPolicy
from models.delivery import MessageStatus, SendEmailResult
from models.tables import Attempt, Delivery, LogEntry, Recipient
from tests.chaos.control import Action, Crash, Mark
from tests.chaos.harness import World

_LOST, _ENDED = "attempt_lost", "attempt_ended"


@dataclass
class Mail:
    """A mail as it was handed in, and what its workflows said."""

    number: int
    policy: UnknownPolicy
    recipients: tuple[str, ...]
    """Those that the server takes; each belongs to this mail alone."""
    results: list[SendEmailResult] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass
class SendFigures:
    """What came of it. Those that ``wrong`` names have to be 0."""

    mails: int = 0
    queued: int = 0
    """Of those: sent by the queue."""
    at_most_once: int = 0
    """Mails with this policy."""
    at_most_once_duplicates: int = 0
    """Second copies of them; each counts as one outside the window too."""
    kills: int = 0
    """SIGKILLs."""
    freezes: int = 0
    ended: int = 0
    """Workers that were told to stop."""
    restarts: dict[str, int] = field(default_factory=dict)
    """Of servers, by SIGKILL."""
    kills_per_point: dict[str, int] = field(default_factory=dict)
    freezes_per_point: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    duplicates_outside_window: int = 0
    unlabelled: int = 0
    changed_bytes: int = 0
    """Copies of one mail that differ in bytes or Message-ID."""
    duplicates_in_window: int = 0
    """Allowed for ``at_least_once``: one for each attempt that the ledger had labelled unknown
    before the copy came."""
    duplicates_without_blow: int = 0
    """Of those: more than blows hit attempts of that mail before their outcome stood."""
    unknown: int = 0
    """Mails that are labelled unknown; the two below add up to it."""
    unknown_accepted: int = 0
    unknown_not_accepted: int = 0
    blows_in_window: int = 0
    """Attempts that a blow hit between dot_intent and outcome."""
    stalls_in_window: int = 0
    """Attempts taken over there although no blow hit them: their worker was too slow to show that
    it lives, on a machine that has other work. The ledger labels them like the others."""
    ended_in_window: int = 0
    """Attempts that their own worker labelled unknown: it was told to stop, or the connection broke
    after the dot."""
    findings: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    """Points that nobody came past in time."""

    def wrong(self) -> dict[str, int]:
        """The figures that should be 0 and are not."""
        zero = (
            "lost",
            "duplicates_outside_window",
            "at_most_once_duplicates",
            "unlabelled",
            "changed_bytes",
        )
        return {name: n for name in zero if (n := asdict(self)[name])}


def judge(world: World, mails: Sequence[Mail]) -> SendFigures:
    """Compare what was handed in with what the server took and what the ledger says."""
    accepted = _accepted(world.smtp.ledger)
    rows = _rows(world)
    blows = _Blows(world)
    figures = SendFigures(mails=len(mails))
    for message_id in {result.message_id for mail in mails for result in mail.results}:
        row = rows[message_id]
        figures.blows_in_window += sum(blows.in_window(a.id) for a in row.attempts)
        figures.stalls_in_window += sum(not blows.in_window(a.id) for a in row.labelled(_LOST))
        figures.ended_in_window += len(row.labelled(_ENDED))
    for mail in mails:
        _judge_mail(mail, accepted, rows, blows, figures)
    return figures


@dataclass(frozen=True)
class _Row:
    """What the ledger says about a mail."""

    delivery_id: str
    states: dict[str, str]
    attempts: list[Attempt]
    doubts: dict[int, LogEntry]
    """Epochs whose attempt was labelled unknown, and the entry of the log that says so."""

    def labelled(self, *events: str) -> list[Attempt]:
        """Attempts that had announced their dot, and that one of these entries calls unknown."""
        return [
            a
            for a in self.attempts
            if a.dot_intent_at and a.epoch in self.doubts and self.doubts[a.epoch].event in events
        ]

    def doubted_at(self, number: int) -> list[float]:
        """When the ledger called attempts to reach a recipient unknown."""
        return [
            self.doubts[attempt.epoch].at.timestamp()
            for attempt in self.labelled(_LOST, _ENDED)
            if number in attempt.recipients
        ]


@dataclass(frozen=True)
class _Copy:
    """What the server took for one recipient."""

    message_id: str
    sha256: str
    at: float


def allowed(copies: Sequence[float], doubts: Sequence[float]) -> int:
    """How many of the copies after the first one an earlier attempt of unknown outcome explains.

    Args:
        copies: When the server took them, in seconds.
        doubts: When the ledger called an attempt unknown; each explains one copy that came later.
    """
    left, explained = sorted(doubts), 0
    for at in sorted(copies)[1:]:
        if left and left[0] <= at:
            left.pop(0)
            explained += 1
    return explained


def _judge_mail(
    mail: Mail,
    accepted: dict[str, list[_Copy]],
    rows: dict[str, _Row],
    blows: _Blows,
    figures: SendFigures,
) -> None:
    def finding(kind: str, what: str) -> None:
        setattr(figures, kind, getattr(figures, kind) + 1)
        figures.findings.append(f"{kind}: mail {mail.number} ({mail.policy}): {what}")

    for failure in mail.failures:
        finding("lost", f"its workflow failed: {failure}")
    if not mail.results:
        return
    result = mail.results[0]
    row = rows[result.message_id]
    if len({r.message_id for r in mail.results}) > 1:
        finding("unlabelled", "one idempotency key made two mails")
    copies = [copy for address in mail.recipients for copy in accepted[address]]
    if {copy.message_id for copy in copies} - {result.internet_message_id}:
        finding("changed_bytes", "another Message-ID")
    versions = {(copy.message_id, copy.sha256) for copy in copies}
    if len(versions) > 1:
        finding("changed_bytes", f"{len(versions)} versions")
    figures.at_most_once += mail.policy is UnknownPolicy.AT_MOST_ONCE
    _judge_copies(mail, accepted, row, blows, figures, finding)
    for address in mail.recipients:
        _judge_recipient(address, bool(accepted[address]), result, row, finding)
    if result.status is MessageStatus.UNKNOWN:
        figures.unknown += 1
        took = all(accepted[address] for address in mail.recipients)
        figures.unknown_accepted += took
        figures.unknown_not_accepted += not took


def _judge_copies(
    mail: Mail,
    accepted: dict[str, list[_Copy]],
    row: _Row,
    blows: _Blows,
    figures: SendFigures,
    finding: Any,
) -> None:
    """A second copy is allowed where the ledger had called the first one unknown by then."""
    number, times = max(
        (
            (number, [copy.at for copy in accepted[address]])
            for number, address in enumerate(mail.recipients)
        ),
        key=lambda one: len(one[1]),
    )
    extra = max(0, len(times) - 1)
    if mail.policy is UnknownPolicy.AT_MOST_ONCE:
        figures.at_most_once_duplicates += extra
    resent = mail.policy is UnknownPolicy.AT_LEAST_ONCE
    explained = allowed(times, row.doubted_at(number)) if resent else 0
    figures.duplicates_in_window += explained
    by_blow = sum(blows.before_outcome(a.id) for a in row.labelled(_LOST, _ENDED))
    figures.duplicates_without_blow += max(0, explained - by_blow)
    if extra > explained:
        finding("duplicates_outside_window", f"{extra + 1} copies, {explained + 1} allowed")


def _judge_recipient(
    address: str, took: bool, result: SendEmailResult, row: _Row, finding: Any
) -> None:
    said = next(r.state for r in result.recipients if r.address == address)
    stands = row.states[address]
    if said == "sent" and not took:
        finding("lost", f"{address}: reported as sent, never accepted")
    elif said not in ("sent", "unknown") and not took:
        finding("lost", f"{address}: reported as {said}")
    if said not in ("sent", "unknown") and took:
        finding("unlabelled", f"{address}: accepted, but reported as {said}")
    # Late evidence may settle what was unknown, never the other way round.
    settled = said == "unknown" and stands == ("sent" if took else "failed")
    if stands != said and not settled:
        finding("unlabelled", f"{address}: reported as {said}, the ledger says {stands}")
    open_window = [a for a in row.attempts if a.dot_intent_at and a.outcome == "unknown"]
    if stands == "unknown" and not open_window:
        finding("unlabelled", f"{address}: unknown without an attempt that says why")


def accepted_copies(world: World, address: str) -> int:
    """How many mails to ``address`` the server has accepted."""
    return len(_accepted(world.smtp.ledger)[address])


def _accepted(ledger: Path) -> dict[str, list[_Copy]]:
    """Every copy, by recipient."""
    found: dict[str, list[_Copy]] = defaultdict(list)
    for line in ledger.read_text().splitlines():
        entry = json.loads(line)
        for address in entry["rcpts"]:
            found[address].append(_Copy(entry["message_id"], entry["sha256"], entry["time"]))
    return found


def _rows(world: World) -> dict[str, _Row]:
    with world.store.database.read() as session:
        states: dict[str, dict[str, str]] = defaultdict(dict)
        for recipient in session.exec(select(Recipient)):
            states[recipient.delivery_id][recipient.address] = recipient.state
        attempts: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in session.exec(select(Attempt)):
            attempts[attempt.delivery_id].append(attempt)
        doubts: dict[str | None, dict[int, LogEntry]] = defaultdict(dict)
        for entry in session.exec(select(LogEntry).where(col(LogEntry.event).in_((_LOST, _ENDED)))):
            if entry.detail.get("outcome") == "unknown":
                doubts[entry.message_id][entry.detail["epoch"]] = entry
        return {
            d.message_id: _Row(
                d.id,
                states[d.id],
                attempts[d.id],
                doubts[d.message_id],
            )
            for d in session.exec(select(Delivery))
        }


class _Blows:
    """What hit whom, by the workers' own notes and the harness's."""

    def __init__(self, world: World) -> None:
        self._intents: dict[str, Mark] = {}
        self._ends: dict[str, float] = {}
        for mark in world.control.marks():
            if mark.event == "intent":
                self._intents.setdefault(mark.attempt, mark)
            else:
                self._ends.setdefault(mark.attempt, mark.at)
        self._crashes: dict[int, list[Crash]] = defaultdict(list)
        for crash in world.control.crashes():
            self._crashes[crash.pid].append(crash)

    def in_window(self, attempt: str) -> bool:
        """Whether one hit an attempt between its intent and the commit of its outcome."""
        return any(self._intents[attempt].at <= crash.at for crash in self._until_end(attempt))

    def before_outcome(self, attempt: str) -> bool:
        """The same; also a worker that was told to stop goes on for a moment, into the window."""
        return self.in_window(attempt) or any(
            crash.action is Action.END for crash in self._until_end(attempt)
        )

    def _until_end(self, attempt: str) -> list[Crash]:
        if attempt not in self._intents:
            return []
        end = self._ends.get(attempt, float("inf"))
        return [crash for crash in self._crashes[self._intents[attempt].pid] if crash.at <= end]
