"""A cell of the matrix: how it is made, what was found in it, and whether that is right."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from models.account import Security
from models.errors import ErrorType
from tests.faults.expected import ON_A_TLS_PORT, PHASES, TABLE, Expected, Label
from tests.smtp_connection import EXTENSIONS


@dataclass(frozen=True, slots=True)
class Mode:
    """How the server is talked to."""

    security: Security
    extensions: tuple[str, ...]

    def has(self, stage: str) -> bool:
        """Whether a session gets to ``stage``."""
        match stage:
            case "starttls":
                return self.security is Security.STARTTLS
            case "tls":
                return self.security is not Security.NONE
            case _:
                return True


MODES = {
    "starttls": Mode(Security.STARTTLS, EXTENSIONS),
    "tls": Mode(Security.TLS, EXTENSIONS),
    "plain": Mode(Security.NONE, EXTENSIONS[1:]),  # without PIPELINING
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A mode, a stage and a way to fail there."""

    mode: str
    stage: str
    way: str

    def __str__(self) -> str:
        return f"{self.mode} {self.stage} {self.way}"

    @property
    def expected(self) -> Expected:
        """What the table says."""
        key = self.stage, self.way
        if MODES[self.mode].security is Security.TLS and key in ON_A_TLS_PORT:
            return ON_A_TLS_PORT[key]
        return TABLE[key]


def cells(*modes: str) -> list[Cell]:
    """All cells of some modes; of all, when none is named."""
    return [
        Cell(mode, stage, way)
        for mode in modes or MODES
        for stage, way in TABLE
        if MODES[mode].has(stage)
    ]


@dataclass(frozen=True, slots=True)
class Found:
    """What the product said, and what is true of the server."""

    label: Label
    outcome: str | None
    """Of the attempt, as the ledger has it."""
    type: ErrorType | None
    code: int | None
    phase: str
    accepted: int
    """Mails that the server has taken."""
    failed: bool
    """Whether the server failed as it was told to; otherwise the cell shows nothing."""


_OUTCOMES = {
    Label.SENT: "sent",
    Label.TEMPORARY: "not_sent",
    Label.PERMANENT: "not_sent",
    Label.UNKNOWN: "unknown",
}


def faults_of(cell: Cell, found: Found) -> list[str]:
    """What is wrong about a cell; nothing, when all is right."""
    expected = cell.expected
    wrong = [
        f"{name} {got}, expected {wanted}"
        for name, got, wanted in (
            ("label", found.label, expected.label),
            ("outcome", found.outcome, _OUTCOMES[expected.label]),
            ("type", found.type, expected.type),
            ("code", found.code, expected.code),
        )
        if got != wanted
    ]
    if found.phase not in PHASES[cell.stage]:
        wrong.append(f"phase {found.phase} for stage {cell.stage}")
    if not found.failed:
        wrong.append("the server did not fail")
    if found.accepted > 1:
        wrong.append(f"the server has the mail {found.accepted} times")
    # The table aside: a mail that a server has is never called lost, nor one that it lacks sent.
    if found.accepted and found.label not in (Label.SENT, Label.UNKNOWN):
        wrong.append(f"{found.label}, and the server has it")
    if not found.accepted and found.label is Label.SENT:
        wrong.append("sent, and the server has it not")
    return wrong


def row(cell: Cell, found: Found | BaseException) -> dict[str, Any]:
    """A cell as it stands in the results."""
    expected = cell.expected
    begin = {**asdict(cell), "expected": expected.label, "why": expected.why}
    if isinstance(found, BaseException):  # the activity may not raise, whatever a server does
        return {**begin, "found": "raised", "wrong": [f"{type(found).__name__} was raised"]}
    return {
        **begin,
        "found": found.label,
        "error_type": found.type,
        "code": found.code,
        "phase": found.phase,
        "accepted": found.accepted,
        "wrong": faults_of(cell, found),
    }
