"""A third of the fault matrix, and that it would notice. All of it: ``make faults``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.errors import TEMPORARY, ErrorType
from tests.faults.__main__ import matrix
from tests.faults.cell import MODES, Cell, Found, cells, faults_of
from tests.faults.expected import ON_A_TLS_PORT, PHASES, TABLE, Label
from tests.faults.world import World
from tests.smtp_connection import REFUSALS, WAYS


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


async def test_a_server_that_fails_at_every_stage_in_every_way(world: World) -> None:
    rows = await matrix(world, "starttls")
    assert len(rows) == len(TABLE) == 85
    assert {f"{row['stage']} {row['way']}": row["wrong"] for row in rows if row["wrong"]} == {}


def test_every_stage_and_every_way_has_its_cell() -> None:
    assert {(stage, way) for stage in REFUSALS for way in WAYS} | {("tls", "certificate")} == set(
        TABLE
    )
    assert list(PHASES) == list(REFUSALS)
    assert [len(cells(mode)) for mode in MODES] == [85, 79, 72]
    assert len(cells()) == len(set(cells())) == 236


def test_the_table_does_not_contradict_itself() -> None:
    for expected in [*TABLE.values(), *ON_A_TLS_PORT.values()]:
        assert expected.why
        if expected.label is Label.SENT:
            assert (expected.type, expected.code) == (None, None)
        if expected.label in (Label.TEMPORARY, Label.UNKNOWN):
            assert expected.type in TEMPORARY
        if expected.label is Label.PERMANENT:
            assert expected.type not in TEMPORARY
        assert expected.label is not Label.UNKNOWN or expected.code is None


LOST = Cell("plain", "reply", "rst")
TOLD = Found(Label.UNKNOWN, "unknown", ErrorType.CONNECTION_LOST, None, "reply", 1, failed=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"accepted": 0}, []),
        ({"type": ErrorType.PROTOCOL_VIOLATION}, ["type"]),
        ({"code": 451}, ["code"]),
        ({"outcome": "not_sent"}, ["outcome"]),
        ({"phase": "body"}, ["phase"]),
        ({"failed": False}, ["the server did not fail"]),
        ({"accepted": 2}, ["the server has the mail 2 times"]),
        ({"label": Label.TEMPORARY}, ["label", "temporary, and the server has it"]),
        ({"label": Label.PERMANENT}, ["label", "permanent, and the server has it"]),
        ({"label": Label.SENT}, ["label"]),
        ({"label": Label.SENT, "accepted": 0}, ["label", "sent, and the server has it not"]),
    ],
)
def test_what_is_wrong_is_noticed(changes: dict[str, Any], said: list[str]) -> None:
    wrong = faults_of(LOST, replace(TOLD, **changes))
    assert len(wrong) == len(said)
    for words, beginning in zip(wrong, said, strict=True):
        assert words.startswith(beginning)
