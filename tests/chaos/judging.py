"""What came of mails, judged by what the SMTP server took and by what the ledger says."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlmodel import select

from models.account import UnknownPolicy
from models.delivery import MessageStatus, SendEmailResult
from models.tables import Attempt, Delivery, LogEntry, Message, Recipient
from tests.chaos.harness import World


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
    """Allowed for ``at_least_once``: at most one per blow within the dangerous part."""
    unknown: int = 0
    """Mails that are labelled unknown; the two below add up to it."""
    unknown_accepted: int = 0
    unknown_not_accepted: int = 0
    blows_in_window: int = 0
    """Attempts that a blow hit between dot_intent and outcome."""
    stalls_in_window: int = 0
    """Attempts taken over there although no blow hit them: their worker was too slow to show that
    it lives, on a machine that has other work. The ledger labels them like the others."""
    findings: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    """Points that nobody came past in time."""

    def wrong(self) -> dict[str, int]:
        """The figures that should be 0 and are not."""
        zero = ("lost", "duplicates_outside_window", "unlabelled", "changed_bytes")
        return {name: n for name in zero if (n := asdict(self)[name])}


def judge(world: World, mails: Sequence[Mail]) -> SendFigures:
    """Compare what was handed in with what the server took and what the ledger says."""
    accepted = _accepted(world.smtp.ledger)
    rows = _rows(world)
    hits = _hits_in_window(world)
    figures = SendFigures(mails=len(mails))
    for message_id in {result.message_id for mail in mails for result in mail.results}:
        row = rows[message_id]
        figures.blows_in_window += hits[row.delivery_id]
        stalls = max(0, _taken_over_in_window(world, message_id) - hits[row.delivery_id])
        figures.stalls_in_window += stalls
        hits[row.delivery_id] += stalls
    for mail in mails:
        _judge_mail(mail, accepted, rows, hits, figures)
    return figures


@dataclass(frozen=True)
class _Row:
    """What the ledger says about a mail."""

    delivery_id: str
    status: str
    states: dict[str, str]
    attempts: list[Attempt]


def _judge_mail(
    mail: Mail,
    accepted: dict[str, list[tuple[str, str]]],
    rows: dict[str, _Row],
    hits: Counter[str],
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
    if {message_id for message_id, _ in copies} - {result.internet_message_id}:
        finding("changed_bytes", "another Message-ID")
    if len(set(copies)) > 1:
        finding("changed_bytes", f"{len(set(copies))} versions")
    extra = max(len(accepted[address]) for address in mail.recipients) - 1
    if extra > 0:
        allowed = hits[row.delivery_id] if mail.policy is UnknownPolicy.AT_LEAST_ONCE else 0
        figures.duplicates_in_window += min(extra, allowed)
        if extra > allowed:
            finding("duplicates_outside_window", f"{extra + 1} copies, {allowed} allowed")
    for address in mail.recipients:
        _judge_recipient(address, bool(accepted[address]), result, row, finding)
    if result.status is MessageStatus.UNKNOWN:
        figures.unknown += 1
        took = all(accepted[address] for address in mail.recipients)
        figures.unknown_accepted += took
        figures.unknown_not_accepted += not took


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


def _accepted(ledger: Path) -> dict[str, list[tuple[str, str]]]:
    """(Message-ID, sha256) of every copy, by recipient."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for line in ledger.read_text().splitlines():
        entry = json.loads(line)
        for address in entry["rcpts"]:
            found[address].append((entry["message_id"], entry["sha256"]))
    return found


def _rows(world: World) -> dict[str, _Row]:
    with world.store.database.read() as session:
        states: dict[str, dict[str, str]] = defaultdict(dict)
        for recipient in session.exec(select(Recipient)):
            states[recipient.delivery_id][recipient.address] = recipient.state
        attempts: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in session.exec(select(Attempt)):
            attempts[attempt.delivery_id].append(attempt)
        status = {m.id: m.status for m in session.exec(select(Message))}
        return {
            d.message_id: _Row(d.id, status[d.message_id], states[d.id], attempts[d.id])
            for d in session.exec(select(Delivery))
        }


def _taken_over_in_window(world: World, message_id: str) -> int:
    """How many attempts the ledger has labelled unknown when it took them over."""
    with world.store.database.read() as session:
        lost = session.exec(
            select(LogEntry.detail).where(
                LogEntry.message_id == message_id, LogEntry.event == "attempt_lost"
            )
        )
        return sum(detail.get("outcome") == "unknown" for detail in lost)


def _hits_in_window(world: World) -> Counter[str]:
    """How often a blow hit each delivery between the intent and its outcome's commit."""
    marks = world.control.marks()
    ended = {m.attempt: m.at for m in marks if m.event == "end"}
    blows_by_pid: dict[int, list[float]] = defaultdict(list)
    for crash in world.control.crashes():
        blows_by_pid[crash.pid].append(crash.at)
    hits: Counter[str] = Counter()
    for mark in marks:
        if mark.event == "intent":
            end = ended.get(mark.attempt, float("inf"))
            hits[mark.delivery] += any(mark.at <= at <= end for at in blows_by_pid[mark.pid])
    return hits
